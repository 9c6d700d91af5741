"""Parses requests to `/v1/responses` as Chat Completions requests that ask the same.

The fields that both have, ossctl's own (`top_k`, `seed` and others) included, keep their names and meanings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.chat_completions import Task, convert, parse_task
from ossctl.app.wire.endpoints import Endpoint
from ossctl.app.wire.lines import Line
from ossctl.app.wire.response_input import ChatMessages, Json
from ossctl.errors import RequestError

# Fields that change no answer, because they are about billing, storage or built-in tools.
_IGNORED = (
    "background_options",
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
)
_STATELESS = "nothing is stored between requests; give the earlier items in input"
_REFUSED = {
    "previous_response_id": _STATELESS,
    "conversation": _STATELESS,
    "prompt": "prompts are not stored; give its text in instructions and input",
    "background": "a batch writes each answer when it is complete",
    "context_management": "input is never shortened",
    "moderation": "there is no moderation model",
}
_NEUTRAL = {"background": False, "stream": False, "truncation": "disabled"}
_CHAT_NAMES = {  # fields of Chat Completions that have another place here
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "logprobs": 'include: ["message.output_text.logprobs"]',
    "n": "several lines",
}
_LOGPROBS = "message.output_text.logprobs"
_ECHOED = (  # fields that the response repeats as they are
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
    "store",
    "top_logprobs",
    "user",
)


class ReasoningOptions(msgspec.Struct, forbid_unknown_fields=True):
    effort: Any = None
    summary: Any = None  # accepted: the reasoning itself is in the answer
    generate_summary: Any = None
    mode: Literal["standard"] | None = None


class TextOptions(msgspec.Struct, forbid_unknown_fields=True):
    format: Json | None = None
    verbosity: Any = None  # accepted: a hint


class Request(msgspec.Struct, kw_only=True):
    """The fields that differ from Chat Completions; the others are left to its parser."""

    input: str | list[Json]
    instructions: str | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    tools: list[Json] | None = None
    tool_choice: Literal["none", "auto", "required"] | Json | None = None
    include: list[str] | None = None
    metadata: Json | None = None


@dataclass(frozen=True, kw_only=True)
class ResponseTask(Task):
    """A request whose answer is a `response` object, which repeats the fields in `echo`."""

    echo: Mapping[str, Any]


def parse_response_task(record: Json, line: Line, defaults: Defaults) -> ResponseTask:
    """Parse the record on `line`; `defaults` apply where it sets nothing. Raises RequestError."""
    body = record["body"]
    if not isinstance(body, dict):
        raise RequestError("body: expected object")
    given = {name: value for name, value in body.items() if value is not None}
    _refuse(given)
    request = convert(given, Request)
    messages = ChatMessages(request.instructions or "", request.input)
    origins = dict(messages.origins)
    chat = {**_shared(given), **_chat_options(request, given, origins), "messages": messages.messages}
    try:
        task = parse_task({**record, "url": Endpoint.CHAT_COMPLETIONS.value, "body": chat}, line, defaults)
    except RequestError as error:
        raise RequestError(_renamed(error.message, origins), error.code) from None
    key = blake2b(b"responses" + task.request_key, digest_size=16).digest()
    fields = {**vars(task), "request_key": key, "metadata": given.get("metadata")}
    return ResponseTask(**fields, echo=_echo(given, task))


def _refuse(given: Json) -> None:
    """Raise RequestError for fields that would change the answer, or belong to Chat Completions."""
    for name, value in given.items():
        if _NEUTRAL.get(name) == value:
            continue
        if name in _REFUSED:
            raise RequestError(f"{name} is not supported: {_REFUSED[name]}")
        if name in _NEUTRAL:
            raise RequestError(f"{name} is {_json(value)}, only {_json(_NEUTRAL[name])} is supported")
        if name in _CHAT_NAMES:
            raise RequestError(f"{name} is not a field of /v1/responses, use {_CHAT_NAMES[name]}")


def _shared(given: Json) -> Json:
    """The fields that are the same in Chat Completions."""
    own = {*Request.__struct_fields__, *_IGNORED, *_NEUTRAL, "max_output_tokens"}
    return {name: value for name, value in given.items() if name not in own}


def _chat_options(request: Request, given: Json, origins: dict[str, str]) -> Json:
    """The other fields, as Chat Completions has them; adds to `origins` where they come from."""
    options: Json = {}
    if "max_output_tokens" in given:
        options["max_completion_tokens"] = given["max_output_tokens"]
    if request.reasoning is not None and request.reasoning.effort is not None:
        options["reasoning_effort"] = request.reasoning.effort
    if request.text is not None and request.text.format is not None:
        options["response_format"] = _response_format(request.text.format)
    if _LOGPROBS in (request.include or ()) or given.get("top_logprobs"):
        options["logprobs"] = True
    else:
        options["top_logprobs"] = None
    tools, choice = _tools(request)
    if tools:
        options["tools"] = [_chat_tool(tool, position) for position, tool in tools.items()]
        for index, position in enumerate(tools):
            origins[f"tools[{index}].function"] = f"tools[{position}]"
            origins[f"tools[{index}]"] = f"tools[{position}]"
    options["tool_choice"] = choice
    return options


def _response_format(given: Json) -> Json:
    """Chat Completions nests what is flat here."""
    if given.get("type") != "json_schema":
        return given
    return {
        "type": "json_schema",
        "json_schema": {name: each for name, each in given.items() if name != "type"},
    }


def _tools(request: Request) -> tuple[dict[int, Json], str | Json | None]:
    """The functions that may be called, by their position in the request, and which of them must be."""
    tools = dict(enumerate(request.tools or ()))
    choice = request.tool_choice
    if not isinstance(choice, dict):
        return tools, choice
    match choice:
        case {"type": "function", "name": str(name)}:
            return tools, {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(allowed)}:
            return _allowed(tools, allowed), mode
    kind = choice.get("type")
    if kind in ("function", "allowed_tools"):
        raise RequestError(f"tool_choice: {kind} needs {'name' if kind == 'function' else 'mode and tools'}")
    raise RequestError(f"tool_choice.type: {kind!r} is not supported, must be function or allowed_tools")


def _allowed(tools: dict[int, Json], allowed: list[Any]) -> dict[int, Json]:
    names = [tool.get("name") for tool in tools.values()]
    wanted = []
    for position, entry in enumerate(allowed):
        name = entry.get("name") if isinstance(entry, dict) else None
        if name not in names:
            raise RequestError(f"tool_choice.tools[{position}].name: {name!r} is not among the tools")
        wanted.append(name)
    return {position: tool for position, tool in tools.items() if tool.get("name") in wanted}


def _chat_tool(tool: Json, position: int) -> Json:
    """A function as Chat Completions has it. It is strict unless it says otherwise, as in OpenAI's API."""
    kind = tool.get("type")
    if kind != "function":
        raise RequestError(f"tools[{position}].type: {kind!r} is not supported, only functions are")
    function = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": "function", "function": {"strict": True, **function}}


def _renamed(message: str, origins: Mapping[str, str]) -> str:
    """An error of the chat parser with the path that its field has in the request."""
    message = message.removeprefix("body.")
    paths = {
        **origins,
        "max_completion_tokens": "max_output_tokens",
        "reasoning_effort": "reasoning.effort",
        "response_format.json_schema": "text.format",
        "response_format": "text.format",
        "tool_choice.function": "tool_choice",
    }
    for path in sorted(paths, key=len, reverse=True):
        if message.startswith(path):
            return paths[path] + message.removeprefix(path)
    return message


def _echo(given: Json, task: Task) -> Json:
    text = {name: value for name, value in given.get("text", {}).items() if value is not None}
    return {
        **{name: given[name] for name in _ECHOED if name in given},
        "metadata": given.get("metadata", {}),
        "parallel_tool_calls": given.get("parallel_tool_calls", True),
        "reasoning": {"effort": task.conversation.effort, "summary": None},
        "temperature": task.sampling.temperature,
        "text": {"format": {"type": "text"}, **text},
        "tool_choice": given.get("tool_choice", "auto"),
        "tools": given.get("tools", []),
        "top_p": task.sampling.top_p,
        "truncation": "disabled",
    }


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
