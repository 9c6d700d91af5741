"""Parses requests in the format of OpenAI's Batch API, and in shorter forms of it.

A field that would change the answer is never ignored: if it is not supported, it is an error that names it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.wire.body_fields import known_fields
from ossctl.app.wire.endpoints import Endpoint, endpoint_of
from ossctl.app.wire.lines import Line
from ossctl.app.wire.messages import ChatMessage, read_conversation
from ossctl.app.wire.request_key import RequestKey
from ossctl.app.wire.sampling import SamplingOptions, read_sampling
from ossctl.app.wire.usual_form import usual_form
from ossctl.errors import RequestError

_MAX_STOPS = 16
_MAX_CHOICES = 128  # OpenAI's limit for n


_T = TypeVar("_T")


class Options(SamplingOptions, forbid_unknown_fields=True, kw_only=True):
    """The fields of a request's body, except its messages."""

    model: str | None = None  # ignored: one model answers all requests, and the records name it
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None


class Body(Options, forbid_unknown_fields=True, kw_only=True):
    messages: list[ChatMessage]


class BatchLine(msgspec.Struct, forbid_unknown_fields=True):
    """A line of OpenAI's Batch API."""

    custom_id: str | int
    body: Body
    method: Literal["POST"] = "POST"
    url: str = "/v1/chat/completions"


class Shorthand(Options, forbid_unknown_fields=True, kw_only=True):
    """`{"prompt": …}` or `{"messages": […]}`, with an optional id and any options of a body."""

    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    id: str | int | None = None
    custom_id: str | int | None = None


@dataclass(frozen=True)
class Task(GenerationSpec):
    """A parsed request. `request_key` identifies it and the defaults that apply to it.

    `metadata` comes back in the record and is no part of the key.
    """

    line: int
    custom_id: str
    n: int = 1
    request_key: RequestKey = field(default_factory=RequestKey)
    metadata: Any = None


def read_record(line: Line) -> dict[str, Any]:
    """Return the JSON object on a line, or the fields of a row. Raises RequestError."""
    if line.error is not None:
        raise line.error
    return _decode(line.data) if line.fields is None else line.fields


def parse_task(record: dict[str, Any], line: Line, defaults: Defaults) -> Task:
    """Parse the record on `line`; `defaults` apply where it sets nothing. Raises RequestError."""
    options: Options
    if "body" in record:
        body = usual_form(record["body"], Body.__struct_fields__, "body.")
        batch_line = convert(known_fields({**record, "body": body}, BatchLine.__struct_fields__), BatchLine)
        if endpoint_of(batch_line.url) is not Endpoint.CHAT_COMPLETIONS:
            raise RequestError(f"url: {batch_line.url!r} is not supported")
        options, messages = batch_line.body, batch_line.body.messages
        custom_id = id_of(line, batch_line.custom_id)
    else:
        options = shorthand = convert(usual_form(record, Shorthand.__struct_fields__), Shorthand)
        messages, custom_id = _messages(shorthand), id_of(line, shorthand.custom_id, shorthand.id)
    task = Task(
        line=line.number,
        custom_id=custom_id,
        conversation=read_conversation(messages, options, defaults),
        max_tokens=_or(_max_tokens(options), defaults.max_tokens),
        stops=defaults.stops if options.stop is None else _stops(options),
        sampling=read_sampling(options, line.number, defaults.sampling),
        timeout=defaults.timeout,
        schema_retries=defaults.schema_retries,
        n=_choices(options),
        metadata=record.get("body", record).get("metadata"),
    )
    return replace(task, request_key=_request_key(task, options, defaults))


def _request_key(task: Task, options: Options, defaults: Defaults) -> RequestKey:
    """All that the answer depends on, except today's date and the line number in its seed."""
    conversation = replace(task.conversation, date=options.date or defaults.date)
    sampling = replace(task.sampling, seed=_or(options.seed, defaults.sampling.seed))
    return RequestKey((conversation, task.stops, sampling, task.n, options.seed is None), task.max_tokens)


def custom_id_of(line: Line) -> str:
    """The id of a line, valid or not: its own if it has one, else `default_id`."""
    try:
        record = read_record(line)
    except RequestError:
        record = {}
    for value in (record.get("custom_id"), record.get("id")):
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return default_id(line)


def id_of(line: Line, custom_id: str | int | None, short_id: str | int | None = None) -> str:
    """The id that `line` gives as `custom_id` or as `id`, else `default_id`. Raises RequestError."""
    if custom_id is not None and short_id is not None:
        raise RequestError("a line can have an id or a custom_id, not both")
    given = short_id if custom_id is None else custom_id
    if given == "":
        raise RequestError("the id is empty")
    return default_id(line) if given is None else str(given)


def default_id(line: Line) -> str:
    """The id of a line without one."""
    return f"line-{line.number}"


def _decode(data: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(data)
    except RecursionError:
        raise RequestError("not valid JSON: nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # the second from msgspec 0.22 and older
        raise RequestError(f"not valid JSON: {error if _is_utf8(data) else 'not UTF-8'}") from None
    if not isinstance(record, dict):
        raise RequestError("not a JSON object")
    return record


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def convert(record: dict[str, Any], kind: type[_T]) -> _T:
    """Convert `record` to a struct. Raises RequestError, which starts with the field."""
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise RequestError(_reworded(str(error), kind)) from None


def _reworded(message: str, kind: type) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.body.n`" into "body.n: expected int, got str"."""
    if field := re.fullmatch(
        r"Object (?:contains (unknown)|missing (required)) field `(.*?)`(?: - at `\$\.?(.*)`)?",
        message,
        re.DOTALL,
    ):
        unknown, _, name, where = field.groups(default="")
        return f"{where}.{name}".removeprefix(".") + (" is not supported" if unknown else " is missing")
    what, _, where = message.rpartition(" - at ") if " - at " in message else (message, "", "")
    what = what.replace("`", "")
    where = re.sub(r"^\$\.?", "", where.strip("`"))
    what = what.replace("Invalid RFC3339 encoded date", "Must be YYYY-MM-DD")
    if what.startswith("Invalid enum value "):
        values = _join([repr(value) for value in _values(kind, where)])
        what = f"{what.removeprefix('Invalid enum value ')} is not supported, must be {values}"
    return f"{where}: {what[0].lower()}{what[1:]}" if where else what


def _values(kind: Any, where: str) -> list[str]:
    """The values that the field at `where` of a request can have, as `body.messages[0].role`."""
    kinds = [kind]
    for step in re.findall(r"[^.\[\]]+", where):
        hints = [get_type_hints(each).get(step) for each in kinds if isinstance(each, type)]
        items = [item for each in kinds if get_origin(each) is list for item in get_args(each)]
        kinds = [member for each in (*hints, *items) for member in _members(each)]
    return [value for each in kinds if get_origin(each) is Literal for value in get_args(each)]


def _members(kind: Any) -> Sequence[Any]:
    """The members of a union, or `kind` itself."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _join(names: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "another"


def _messages(shorthand: Shorthand) -> list[ChatMessage]:
    if (shorthand.prompt is None) == (shorthand.messages is None):
        raise RequestError("a line needs exactly one of body, prompt and messages")
    if shorthand.prompt is not None:
        return [ChatMessage("user", shorthand.prompt)]
    return shorthand.messages or []


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
        raise RequestError("stop contains an empty string")
    if len(stops) > _MAX_STOPS:
        raise RequestError(f"stop has {len(stops)} strings, at most {_MAX_STOPS} are supported")
    return tuple(stops)


def _or(value: _T | None, default: _T) -> _T:
    return default if value is None else value
