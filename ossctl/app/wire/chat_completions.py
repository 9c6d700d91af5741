"""Requests as OpenAI's Batch API writes them, and our shorthands.

A field that is not supported is an error, by its name. It is never ignored.
"""

import re
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal, TypeVar

import msgspec

from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.wire.lines import Line
from ossctl.app.wire.messages import ChatMessage, ConversationOptions, read_conversation
from ossctl.engine.request import Sampling
from ossctl.errors import RequestError

_MAX_STOPS = 16
_MAX_CHOICES = 128  # OpenAI's limit for n

# Fields that are accepted with the value that asks for what happens anyway.
_ONLY: dict[str, float] = {"stream": False, "frequency_penalty": 0, "presence_penalty": 0}

_T = TypeVar("_T")


class Options(ConversationOptions, forbid_unknown_fields=True, kw_only=True):
    """The fields of a request's body besides what is asked."""

    model: str | None = None  # the batch runs one model; the answer names it
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    n: int | None = None
    stream: bool | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


class Body(Options, forbid_unknown_fields=True, kw_only=True):
    messages: list[ChatMessage]


class BatchLine(msgspec.Struct, forbid_unknown_fields=True):
    """A line of OpenAI's Batch API."""

    custom_id: str | int
    body: Body
    method: Literal["POST"] = "POST"
    url: Literal["/v1/chat/completions"] = "/v1/chat/completions"


class Shorthand(Options, forbid_unknown_fields=True, kw_only=True):
    """`{"prompt": …}` or `{"messages": […]}`, with an id and any option of a body."""

    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    id: str | int | None = None
    custom_id: str | int | None = None


@dataclass(frozen=True)
class Task(GenerationSpec):
    """A line of the input, understood. `asked` is all that it asks for, in 16 bytes, without its number."""

    line: int
    custom_id: str
    n: int = 1
    asked: bytes = b""


def read_task(line: Line, defaults: Defaults) -> Task:
    """Understand a line. Raises RequestError, which names the field."""
    return task_of(read_record(line), line, defaults)


def read_record(line: Line) -> dict[str, Any]:
    """The JSON object on a line, or the fields of a row. Raises RequestError."""
    if line.error is not None:
        raise line.error
    return _decode(line.data) if line.fields is None else line.fields


def task_of(record: dict[str, Any], line: Line, defaults: Defaults) -> Task:
    """What the object on `line` asks for. Raises RequestError, which names the field."""
    options: Options
    if "body" in record:
        batch_line = _convert(record, BatchLine)
        options, messages, custom_id = batch_line.body, batch_line.body.messages, batch_line.custom_id
    else:
        options = shorthand = _convert(record, Shorthand)
        messages, custom_id = _asked(shorthand), _id(shorthand, line)
    if custom_id == "":
        raise RequestError("the id is empty")
    for name, only in _ONLY.items():
        value = getattr(options, name)
        if value not in (None, only):
            raise RequestError(f"{name} is {_json(value)}, only {_json(only)} is supported")
    task = Task(
        line=line.number,
        custom_id=str(custom_id),
        conversation=read_conversation(messages, options, defaults),
        max_tokens=_or(_max_tokens(options), defaults.max_tokens),
        stops=defaults.stops if options.stop is None else _stops(options),
        sampling=_sampling(options, line.number, defaults.sampling),
        timeout=defaults.timeout,
        n=_choices(options),
    )
    return replace(task, asked=_asked_for(task, options, defaults))


def _asked_for(task: Task, options: Options, defaults: Defaults) -> bytes:
    """All that a change of the request changes, hashed. The line's number and today are no part of it."""
    conversation = replace(task.conversation, date=options.date or defaults.date)
    sampling = replace(task.sampling, seed=_or(options.seed, defaults.sampling.seed))
    whole = (conversation, task.max_tokens, task.stops, sampling, task.n, options.seed is None)
    return blake2b(msgspec.json.encode(whole), digest_size=16).digest()


def custom_id_of(line: Line) -> str:
    """The id under which to report a line, understood or not: its own if it can be found."""
    try:
        record = read_record(line)
    except RequestError:
        record = {}
    for found in (record.get("custom_id"), record.get("id")):
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
            return str(found)
    return default_id(line)


def default_id(line: Line) -> str:
    """The id of a line that has none."""
    return f"line-{line.number}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _decode(data: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(data)
    except UnicodeDecodeError:
        raise RequestError("not valid JSON: not UTF-8") from None
    except RecursionError:
        raise RequestError("not valid JSON: nested too deeply") from None
    except msgspec.DecodeError as error:
        raise RequestError(f"not valid JSON: {error}") from None
    if not isinstance(record, dict):
        raise RequestError("not a JSON object")
    return record


def _convert(record: dict[str, Any], kind: type[_T]) -> _T:
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise RequestError(_readable(str(error))) from None


def _readable(complaint: str) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.body.n`" as "body.n: expected int, got str"."""
    if field := re.fullmatch(
        r"Object (?:contains (unknown)|missing (required)) field `(.*?)`(?: - at `\$\.?(.*)`)?",
        complaint,
        re.DOTALL,
    ):
        unknown, _, name, where = field.groups(default="")
        return f"{where}.{name}".removeprefix(".") + (" is not supported" if unknown else " is missing")
    what, _, where = complaint.rpartition(" - at ") if " - at " in complaint else (complaint, "", "")
    what = what.replace("`", "")
    where = re.sub(r"^\$\.?", "", where.strip("`"))
    what = what.replace("Invalid RFC3339 encoded date", "Must be YYYY-MM-DD")
    what = re.sub("^Invalid enum value (.*)$", r"\1 is not supported", what)
    return f"{where}: {what[0].lower()}{what[1:]}" if where else what


def _asked(shorthand: Shorthand) -> list[ChatMessage]:
    if (shorthand.prompt is None) == (shorthand.messages is None):
        raise RequestError("a line has a body, a prompt or messages, and just one of them")
    if shorthand.prompt is not None:
        return [ChatMessage("user", shorthand.prompt)]
    return shorthand.messages or []


def _id(shorthand: Shorthand, line: Line) -> str | int:
    given = [i for i in (shorthand.custom_id, shorthand.id) if i is not None]
    if len(given) > 1:
        raise RequestError("a line has an id or a custom_id, not both")
    return given[0] if given else default_id(line)


def _choices(options: Options) -> int:
    if options.n is not None and not 1 <= options.n <= _MAX_CHOICES:
        raise RequestError(f"n is {options.n}, must be from 1 to {_MAX_CHOICES}")
    return options.n or 1


def _max_tokens(options: Options) -> int | None:
    given = {"max_tokens": options.max_tokens, "max_completion_tokens": options.max_completion_tokens}
    for name, value in given.items():
        if value is not None and value < 1:
            raise RequestError(f"{name} is {value}, must be at least 1")
    values = {value for value in given.values() if value is not None}
    if len(values) > 1:
        raise RequestError("max_tokens and max_completion_tokens differ; give one of them")
    return values.pop() if values else None


def _stops(options: Options) -> tuple[str, ...]:
    stops = [options.stop] if isinstance(options.stop, str) else options.stop or []
    if not all(stops):
        raise RequestError("stop has an empty string")
    if len(stops) > _MAX_STOPS:
        raise RequestError(f"stop has {len(stops)} strings, at most {_MAX_STOPS} are supported")
    return tuple(stops)


def _sampling(options: Options, line: int, default: Sampling) -> Sampling:
    sampling = Sampling(
        temperature=_or(options.temperature, default.temperature),
        top_k=_or(options.top_k, default.top_k),
        top_p=_or(options.top_p, default.top_p),
        min_p=_or(options.min_p, default.min_p),
        seed=_or(options.seed, default.seed + line),
        logit_bias=_logit_bias(options),
        logprobs=_logprobs(options),
    )
    sampling.validate()
    return sampling


def _or(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def _logit_bias(options: Options) -> dict[int, float]:
    bias = options.logit_bias or {}
    if not all(re.fullmatch("0|[1-9][0-9]{0,9}", token) for token in bias):
        raise RequestError("logit_bias maps token ids to numbers")
    return {int(token): value for token, value in bias.items()}


def _logprobs(options: Options) -> int | None:
    if options.top_logprobs is not None and not options.logprobs:
        raise RequestError("top_logprobs needs logprobs: true")
    return (options.top_logprobs or 0) if options.logprobs else None
