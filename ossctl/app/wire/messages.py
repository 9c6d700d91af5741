"""The conversation of a Chat Completions request: messages, tools, response format, effort.

A field that is invalid, or not allowed where it is, is an error that names it.
"""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import msgspec

from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.template_options import OWN_VARIABLES, is_deeper
from ossctl.dialect import Conversation, Effort, JsonFormat, Message, Role, Tool, ToolCall, ToolChoice
from ossctl.errors import RequestError
from ossctl.guide import TextFormat

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # OpenAI's rule for functions and formats
_CALLED_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")  # a model may call functions that do not exist

_EFFORT_VARIABLE = "reasoning_effort"
_MAX_DEPTH = 100  # of a schema, well below Python's recursion limit


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
    strict: bool | None = None


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
    strict: bool | None = None  # accepted: a schema is always enforced


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ConversationOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields of a request, besides the messages, that make up its conversation."""

    response_format: ResponseFormat | None = None
    choice: list[str] | None = None
    regex: str | None = None
    grammar: str | None = None
    tools: list[ChatTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChatToolChoice | None = None
    parallel_tool_calls: bool | None = None  # accepted: the model decides
    reasoning_effort: Effort | None = None
    max_reasoning_tokens: int | None = None
    date: dt.date | None = None
    chat_template_kwargs: dict[str, Any] | None = None


def read_conversation(
    messages: Sequence[ChatMessage], options: ConversationOptions, defaults: Defaults
) -> Conversation:
    """Convert the messages and options of a request. Raises RequestError, which names the field."""
    if not messages:
        raise RequestError("messages is empty")
    budget = options.max_reasoning_tokens
    if budget is not None and budget < 0:
        raise RequestError(f"max_reasoning_tokens is {budget}, must be 0 or more")
    tools = (*_tools(options.tools or (), defaults.tools), *defaults.tools)
    variables = _template_variables(options)
    effort = _effort(options.reasoning_effort, variables)
    default_variables = dict(defaults.template_variables)
    if effort is not None:
        default_variables.pop(_EFFORT_VARIABLE, None)
    text_format = _text_format(options)
    given = options.response_format is not None
    return Conversation(
        messages=(*_instructions(messages, defaults), *_messages(messages)),
        tools=tools,
        tool_choice=_tool_choice(options.tool_choice, tools),
        json_format=None if text_format else _json_format(options.response_format, defaults.json_format),
        effort=effort or defaults.effort,
        date=options.date or defaults.date or defaults.today,
        max_reasoning_tokens=defaults.max_reasoning_tokens if budget is None else budget,
        template_variables=default_variables | variables,
        text_format=text_format or (None if given else defaults.text_format),
        think=defaults.think,
    )


def _template_variables(options: ConversationOptions) -> dict[str, Any]:
    given = {name: value for name, value in (options.chat_template_kwargs or {}).items() if value is not None}
    if given.get("add_generation_prompt") is True:
        del given["add_generation_prompt"]
    for name in given:
        if name in OWN_VARIABLES:
            raise RequestError(f"chat_template_kwargs.{name} cannot be set: it is made from the request")
    if is_deeper(given, _MAX_DEPTH):
        raise RequestError("chat_template_kwargs: nested too deeply")
    return given


def _effort(given: Effort | None, variables: dict[str, Any]) -> Effort | None:
    """The effort of a request, which may also be among its `variables`; it is taken out of them."""
    effort: Effort | None = variables.get(_EFFORT_VARIABLE)
    if effort not in get_args(Effort):  # a level that only the model's template knows
        return given
    if given not in (None, effort):
        raise RequestError("reasoning_effort and chat_template_kwargs.reasoning_effort differ")
    del variables[_EFFORT_VARIABLE]
    return effort


def _instructions(messages: Sequence[ChatMessage], defaults: Defaults) -> Iterator[Message]:
    if defaults.system and not any(message.role in ("system", "developer") for message in messages):
        yield Message("system", defaults.system)


def _messages(messages: Sequence[ChatMessage]) -> Iterator[Message]:
    called: dict[str, str] = {}  # function names by call id
    for position, message in enumerate(messages):
        field = f"messages[{position}]"
        _check_fields(message, field)
        calls = tuple(_calls(message.tool_calls or (), field))
        called.update((call.id, call.function.name) for call in message.tool_calls or ())
        yield Message(
            message.role,
            _text(message),
            message.reasoning_content or "",
            calls,
            tool=_called_function(message, called, field),
        )


def _check_fields(message: ChatMessage, field: str) -> None:
    """Raise RequestError for fields that the message's role does not allow, or for missing content."""
    if message.role != "assistant":
        for name in ("reasoning_content", "tool_calls"):
            if getattr(message, name):
                raise RequestError(f"{field}.{name} is only allowed in assistant messages")
    if message.role != "tool" and message.tool_call_id is not None:
        raise RequestError(f"{field}.tool_call_id is only allowed in tool messages")
    if message.content is None and not message.tool_calls:
        raise RequestError(f"{field}.content is missing")


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "\n".join(part.text for part in message.content)  # as llama.cpp and vLLM do
    return message.content or ""


def _calls(calls: Sequence[ChatToolCall], field: str) -> Iterator[ToolCall]:
    seen: set[str] = set()
    for position, call in enumerate(calls):
        name = call.function.name
        if call.id in seen:
            raise RequestError(f"{field}.tool_calls[{position}].id: duplicate {call.id[:80]!r}")
        seen.add(call.id)
        if not _CALLED_NAME.fullmatch(name):
            raise RequestError(f"{field}.tool_calls[{position}].function.name: {name!r} is not a valid name")
        yield ToolCall(name, call.function.arguments)


def _called_function(message: ChatMessage, called: dict[str, str], field: str) -> str:
    """The function whose result a tool message holds; "" for other roles."""
    if message.role != "tool":
        return ""
    if message.tool_call_id is None:
        raise RequestError(f"{field}.tool_call_id is missing")
    if message.tool_call_id not in called:
        raise RequestError(f"{field}.tool_call_id: no earlier call has the id {message.tool_call_id[:80]!r}")
    return called[message.tool_call_id]


def _tools(tools: Sequence[ChatTool], others: Sequence[Tool]) -> Iterator[Tool]:
    seen = {tool.name for tool in others}
    for position, tool in enumerate(tools):
        function = tool.function
        if not _NAME.fullmatch(function.name):
            rule = "must be 1 to 64 letters, digits, - and _"
            raise RequestError(f"tools[{position}].function.name is {function.name!r}, {rule}")
        if function.name in seen:
            raise RequestError(f"tools[{position}].function.name: duplicate {function.name!r}")
        if is_deeper(function.parameters, _MAX_DEPTH):
            raise RequestError(f"tools[{position}].function.parameters: nested too deeply")
        if function.parameters and function.parameters.get("type", "object") != "object":
            raise RequestError(f"tools[{position}].function.parameters: the type must be object")
        seen.add(function.name)
        description = function.description or ""
        yield Tool(function.name, description, function.parameters, strict=bool(function.strict))


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
        raise RequestError("response_format.json_schema is only allowed with type json_schema")
    if response_format.type == "text":
        return None
    if response_format.type == "json_object":
        return JsonFormat({"type": "object"})
    schema = response_format.json_schema
    if schema is None:
        raise RequestError("response_format.json_schema is missing")
    if not _NAME.fullmatch(schema.name):
        rule = "must be 1 to 64 letters, digits, - and _"
        raise RequestError(f"response_format.json_schema.name is {schema.name!r}, {rule}")
    return JsonFormat(schema.schema, schema.name, schema.description or "")


def _text_format(options: ConversationOptions) -> TextFormat | None:
    response_format = options.response_format
    formats = {
        "response_format": None if response_format is None or response_format.type == "text" else True,
        "choice": options.choice,
        "regex": options.regex,
        "grammar": options.grammar,
    }
    given = [name for name, value in formats.items() if value is not None]
    if len(given) > 1:
        raise RequestError(f"{given[0]} and {given[1]} cannot be combined: an answer has one format")
    if options.choice is not None:
        if not all(options.choice) or not options.choice:
            raise RequestError(f"choice {'contains an empty string' if options.choice else 'is empty'}")
        return TextFormat("choice", choices=tuple(options.choice))
    if options.regex is not None:
        return TextFormat("regex", options.regex)
    return None if options.grammar is None else TextFormat("grammar", options.grammar)
