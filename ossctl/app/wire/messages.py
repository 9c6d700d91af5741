"""Conversations as Chat Completions writes them: messages, tools, formats, effort.

What has no meaning where it stands is an error that names the field.
"""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from ossctl.app.inference.defaults import Defaults
from ossctl.dialect import Conversation, Effort, JsonFormat, Message, Role, Tool, ToolCall, ToolChoice
from ossctl.errors import RequestError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # OpenAI's rule for functions and formats
_CALLED = re.compile(r"[A-Za-z0-9_.-]{1,256}")  # a model may have called what does not exist

_MAX_DEPTH = 100  # levels of a schema; Python's own limit is not far


class ContentPart(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class FunctionCall(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: str


class ChatToolCall(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ChatMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: Role
    content: str | list[ContentPart] | None = None
    reasoning_content: str | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str | None = None


class Function(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None  # arguments are held to the schema whenever a call is


class ChatTool(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["function"]
    function: Function


class NamedFunction(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class ChatToolChoice(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["function"]
    function: NamedFunction


class JsonSchema(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None  # it always is


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ConversationOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields of a request that say more about its conversation."""

    response_format: ResponseFormat | None = None
    tools: list[ChatTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChatToolChoice | None = None
    parallel_tool_calls: bool | None = None  # one call at a time is what either value allows
    reasoning_effort: Effort | None = None
    max_reasoning_tokens: int | None = None
    date: dt.date | None = None


def read_conversation(
    messages: Sequence[ChatMessage], options: ConversationOptions, defaults: Defaults
) -> Conversation:
    """Understand a request's messages and what belongs to them. Raises RequestError."""
    if not messages:
        raise RequestError("messages is empty")
    budget = options.max_reasoning_tokens
    if budget is not None and budget < 0:
        raise RequestError(f"max_reasoning_tokens is {budget}, must be 0 or more")
    tools = tuple(_tools(options.tools or ()))
    return Conversation(
        messages=(*_instructions(messages, defaults), *_messages(messages)),
        tools=tools,
        tool_choice=_tool_choice(options.tool_choice, tools),
        json_format=_json_format(options.response_format, defaults.json_format),
        effort=options.reasoning_effort or defaults.effort,
        date=options.date or defaults.date or defaults.today,
        max_reasoning_tokens=defaults.max_reasoning_tokens if budget is None else budget,
    )


def _instructions(messages: Sequence[ChatMessage], defaults: Defaults) -> Iterator[Message]:
    if defaults.system and not any(message.role in ("system", "developer") for message in messages):
        yield Message("system", defaults.system)


def _messages(messages: Sequence[ChatMessage]) -> Iterator[Message]:
    called: dict[str, str] = {}  # the functions by the ids of their calls
    for position, message in enumerate(messages):
        field = f"messages[{position}]"
        _check_place(message, field)
        calls = tuple(_calls(message.tool_calls or (), field))
        called.update((call.id, call.function.name) for call in message.tool_calls or ())
        yield Message(
            message.role,
            _text(message),
            message.reasoning_content or "",
            calls,
            tool=_answered(message, called, field),
        )


def _check_place(message: ChatMessage, field: str) -> None:
    """Fields that only some roles have."""
    if message.role != "assistant":
        for name in ("reasoning_content", "tool_calls"):
            if getattr(message, name):
                raise RequestError(f"{field}.{name} is for the assistant's messages only")
    if message.role != "tool" and message.tool_call_id is not None:
        raise RequestError(f"{field}.tool_call_id is for messages of role tool only")
    if message.content is None and not message.tool_calls:
        raise RequestError(f"{field}.content is missing")


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "".join(part.text for part in message.content)
    return message.content or ""


def _calls(calls: Sequence[ChatToolCall], field: str) -> Iterator[ToolCall]:
    seen: set[str] = set()
    for position, call in enumerate(calls):
        name = call.function.name
        if call.id in seen:
            raise RequestError(f"{field}.tool_calls[{position}].id: there are two of {call.id[:80]!r}")
        seen.add(call.id)
        if not _CALLED.fullmatch(name):
            raise RequestError(f"{field}.tool_calls[{position}].function.name: {name!r} is not a name")
        yield ToolCall(name, call.function.arguments)


def _answered(message: ChatMessage, called: dict[str, str], field: str) -> str:
    """The function whose result a tool's message is."""
    if message.role != "tool":
        return ""
    if message.tool_call_id is None:
        raise RequestError(f"{field}.tool_call_id is missing")
    if message.tool_call_id not in called:
        raise RequestError(
            f"{field}.tool_call_id: no message before makes the call {message.tool_call_id[:80]!r}"
        )
    return called[message.tool_call_id]


def _tools(tools: Sequence[ChatTool]) -> Iterator[Tool]:
    seen: set[str] = set()
    for position, tool in enumerate(tools):
        function = tool.function
        if not _NAME.fullmatch(function.name):
            hint = "must be 1 to 64 letters, digits, - and _"
            raise RequestError(f"tools[{position}].function.name is {function.name!r}, {hint}")
        if function.name in seen:
            raise RequestError(f"tools[{position}].function.name: there are two of {function.name!r}")
        if _deeper_than(_MAX_DEPTH, function.parameters):
            raise RequestError(f"tools[{position}].function.parameters: nested too deeply")
        if function.parameters and function.parameters.get("type", "object") != "object":
            raise RequestError(f"tools[{position}].function.parameters: the type must be object")
        seen.add(function.name)
        yield Tool(function.name, function.description or "", function.parameters)


def _deeper_than(levels: int, value: object) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(_deeper_than(levels - 1, item) for item in value)


def _tool_choice(
    choice: Literal["none", "auto", "required"] | ChatToolChoice | None, tools: Sequence[Tool]
) -> ToolChoice:
    if choice is None:
        return ToolChoice()
    if isinstance(choice, str):
        if choice == "required" and not tools:
            raise RequestError("tool_choice is required, but there are no tools")
        return ToolChoice(choice)
    name = choice.function.name
    if name not in {tool.name for tool in tools}:
        raise RequestError(f"tool_choice.function.name: {name!r} is not among the tools")
    return ToolChoice("required", name)


def _json_format(response_format: ResponseFormat | None, default: JsonFormat | None) -> JsonFormat | None:
    if response_format is None:
        return default
    if response_format.type != "json_schema" and response_format.json_schema is not None:
        raise RequestError(f"response_format.json_schema has no meaning with type {response_format.type}")
    if response_format.type == "text":
        return None
    if response_format.type == "json_object":
        return JsonFormat({"type": "object"})
    wanted = response_format.json_schema
    if wanted is None:
        raise RequestError("response_format.json_schema is missing")
    if not _NAME.fullmatch(wanted.name):
        hint = "must be 1 to 64 letters, digits, - and _"
        raise RequestError(f"response_format.json_schema.name is {wanted.name!r}, {hint}")
    return JsonFormat(wanted.schema, wanted.name, wanted.description or "")
