"""Requests of Inspect as bodies of OpenAI's API, which `ossctl.app.wire` parses.

What would change the answer and is not supported is an error that names it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolFunction, ToolInfo

from ossctl.errors import RequestError

Body = dict[str, Any]

# Fields of GenerateConfig by the names that bodies have for them.
_NAMES = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "logit_bias": "logit_bias",
    "parallel_tool_calls": "parallel_tool_calls",
    "reasoning_effort": "reasoning_effort",
    "stop_seqs": "stop",
    "num_choices": "n",
    "reasoning_tokens": "max_reasoning_tokens",
    "response_schema": "response_format",
}

# Inspect's own to follow, or for services only: how often, how long and how many at once, caches, prices.
_NOT_OURS = frozenset({
    "max_retries", "timeout", "attempt_timeout", "stream_idle_timeout", "max_connections",
    "adaptive_connections", "system_message", "internal_tools", "max_tool_output", "cache_prompt", "cache",
    "batch", "fail_on_refusal", "fallback_models", "reasoning_history", "extra_headers", "extra_body",
})  # fmt: skip

# Values that change nothing, of fields that are refused.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "reasoning_mode": ("standard",),
    "reasoning_summary": ("none", "auto"),
    "best_of": (1,),
    "modalities": ([],),
}
_REASONS = {
    "best_of": "use num_choices",
    "prompt_logprobs": "log probabilities are returned for answers only",
    "modalities": "the model writes text only",
    "effort": "use reasoning_effort",
    "reasoning_mode": "use reasoning_effort",
    "reasoning_summary": "the reasoning is returned in full",
    "verbosity": "ask for it in a message",
}
_OF_THE_REQUEST = frozenset({"messages", "prompt", "body", "id", "custom_id", "metadata"})

_INVALID_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_MAX_NAME = 256


def body_of(
    messages: Sequence[ChatMessage], tools: Sequence[ToolInfo], choice: ToolChoice, config: GenerateConfig
) -> Body:
    """The body of a request. Raises RequestError for what is not supported."""
    body: Body = {"messages": [_message(message, n) for n, message in enumerate(messages)]}
    if tools:
        body |= {"tools": [_tool(tool) for tool in tools], "tool_choice": _tool_choice(choice)}
    body |= dict(_options(config))
    for name, value in (config.extra_body or {}).items():
        if name in body or name in _OF_THE_REQUEST:
            raise RequestError(f"extra_body.{name} is set by the request itself")
        body[name] = value
    return body


def in_inspects_words(error: RequestError) -> RequestError:
    """`error` with the name that Inspect has for the field that it starts with."""
    field = re.match(r"[a-z_]+", error.message)
    names = {"think": "reasoning_effort none", **{of_body: name for name, of_body in _NAMES.items()}}
    if field is None or field[0] not in names:
        return error
    return RequestError(names[field[0]] + error.message[field.end() :], error.code)


def _options(config: GenerateConfig) -> Iterator[tuple[str, Any]]:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if value is None or name in _NOT_OURS or value in _NEUTRAL.get(name, ()):
            continue
        if name not in _NAMES:
            reason = f": {_REASONS[name]}" if name in _REASONS else ""
            raise RequestError(f"{name} is not supported{reason}")
        yield _NAMES[name], _option(name, value)


def _option(name: str, value: Any) -> Any:
    if name == "response_schema":
        schema = value.json_schema.model_dump(exclude_none=True)
        json_schema = {"name": value.name, "schema": schema, "description": value.description}
        return {"type": "json_schema", "json_schema": json_schema}
    if name == "logit_bias":
        return {str(token): bias for token, bias in value.items()}
    return value


def _message(message: ChatMessage, position: int) -> Body:
    field = f"messages[{position}]"
    content: str | list[Body]
    if isinstance(message.content, str):
        content = message.content
    else:
        parts = enumerate(message.content)
        content = [_part(part, f"{field}.content[{n}]") for n, part in parts if not _is_reasoning(part)]
    body: Body = {"role": message.role, "content": content}
    if isinstance(message, ChatMessageAssistant):
        reasoning = [_reasoning(part) for part in message.content if isinstance(part, ContentReasoning)]
        body["reasoning_content"] = "\n\n".join(filter(None, reasoning))
        body["tool_calls"] = [_call(call) for call in message.tool_calls or ()]
    elif isinstance(message, ChatMessageTool):
        if message.error is not None:
            body["content"] = f"Error: {message.error.message}"
        body |= {"tool_call_id": message.tool_call_id, "name": message.function and _name(message.function)}
    return body


def _is_reasoning(part: Content) -> bool:
    return isinstance(part, ContentReasoning)


def _part(part: Content, field: str) -> Body:
    if not isinstance(part, ContentText):
        raise RequestError(f"{field}: {part.type} is not supported: the model reads text only")
    return {"type": "text", "text": part.text}


def _reasoning(part: ContentReasoning) -> str:
    return part.summary or "" if part.redacted else part.reasoning


def _call(call: ToolCall) -> Body:
    arguments = msgspec.json.encode(call.arguments).decode()
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": _name(call.function), "arguments": arguments},
    }


def _name(called: str) -> str:
    """The name of a function that a model has called, which need not exist, as far as names may go."""
    return _INVALID_IN_NAME.sub("_", called)[:_MAX_NAME] or "_"


def _tool(tool: ToolInfo) -> Body:
    parameters = tool.parameters.model_dump(exclude_none=True)
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> object:
    if isinstance(choice, ToolFunction):
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice == "any" else choice
