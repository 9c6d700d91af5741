"""Requests to `/v1/completions`, which continue a text without a chat format, and their answers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.chat_completions import Options, Task, parse_task
from ossctl.app.wire.endpoints import Endpoint
from ossctl.app.wire.lines import Line
from ossctl.app.wire.messages import ConversationOptions
from ossctl.app.wire.usual_form import usual_form
from ossctl.errors import RequestError

Json = dict[str, Any]

_OPTIONS = tuple(
    name for name in Options.__struct_fields__ if name not in ConversationOptions.__struct_fields__
)


@dataclass(frozen=True)
class CompletionTask(Task):
    """A request whose answer is a `text_completion` object."""


def parse_completion_task(record: Json, line: Line, defaults: Defaults) -> CompletionTask:
    """Parse the record on `line`; `defaults` apply where it sets nothing. Raises RequestError."""
    for option, given in (("--system", defaults.system), ("--schema", defaults.json_format)):
        if given:
            raise RequestError(f"{option} cannot be used with /v1/completions, which has no chat format")
    body = record["body"]
    if not isinstance(body, dict):
        raise RequestError("body: expected object")
    options = usual_form({**body, **_logprobs(body)}, (*_OPTIONS, "prompt"), "body.")
    message = {"role": "user", "content": _prompt(options.pop("prompt", None))}
    chat = {**options, "messages": [message], "metadata": body.get("metadata")}
    plain = replace(defaults, date=None, today=None, effort=None, max_reasoning_tokens=None, think=None)
    task = parse_task({**record, "url": Endpoint.CHAT_COMPLETIONS.value, "body": chat}, line, plain)
    key = replace(task.request_key, contents=(*task.request_key.contents, "completions"))
    return CompletionTask(**{**vars(task), "request_key": key, "raw": True})


def text_completion(chat: Mapping[str, Any]) -> Json:
    """The `text_completion` object that says the same as a `chat.completion`."""
    identity = chat["id"].partition("-")[2]
    choices = [_choice(choice) for choice in chat["choices"]]
    return {**chat, "id": f"cmpl-{identity}", "object": "text_completion", "choices": choices}


def _logprobs(body: Json) -> Json:
    """The fields of Chat Completions for a number of alternatives, which may be 0 here."""
    number = body.get("logprobs")
    if not isinstance(number, int | float) or isinstance(number, bool):
        return {}
    return {"logprobs": True, "top_logprobs": number}


def _prompt(given: object) -> str:
    match given:
        case str(text) | [str(text)] if text:
            return text
        case None:
            raise RequestError("body.prompt is missing")
        case "" | [] | [""]:
            raise RequestError("body.prompt is empty")
        case [str(), *_]:
            raise RequestError("body.prompt has several texts; give each a line of its own")
    raise RequestError("body.prompt: expected a text; token ids are not supported")


def _choice(choice: Mapping[str, Any]) -> Json:
    message, logprobs = choice["message"], choice["logprobs"]
    rest = {name: value for name, value in choice.items() if name not in ("message", "logprobs")}
    return {"text": message["content"], **rest, "logprobs": logprobs and _text_logprobs(logprobs["content"])}


def _text_logprobs(entries: list[Json]) -> Json:
    """One list for each of a token's properties; offsets are in characters, from the start of the answer."""
    tokens = [entry["token"] for entry in entries]
    return {
        "tokens": tokens,
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [
            {other["token"]: other["logprob"] for other in entry["top_logprobs"]} for entry in entries
        ],
        "text_offset": list(accumulate(map(len, tokens), initial=0))[:-1],
    }
