"""A request as clients write it, in the one form that is parsed."""

from typing import Any

from ossctl.app.wire.body_fields import known_fields
from ossctl.app.wire.json_forms import with_response_format
from ossctl.app.wire.sdk_messages import usual_messages
from ossctl.errors import RequestError

_INTEGERS = (
    "max_tokens",
    "max_completion_tokens",
    "max_reasoning_tokens",
    "top_k",
    "seed",
    "top_logprobs",
    "n",
)


def usual_form(fields: Any, supported: tuple[str, ...], where: str = "") -> Any:
    """`fields` as only the `supported` ones; what is not understood is left to the parser.

    Raises RequestError for fields that would change the answer, with a path that starts with `where`.
    """
    if not isinstance(fields, dict):
        return fields
    fields = {name: value for name, value in fields.items() if value is not None}
    fields = with_response_format(_with_tools(fields), supported, where)
    if isinstance(fields.get("messages"), list):
        fields["messages"] = usual_messages(fields["messages"], where)
    return known_fields(_with_usual_numbers(fields), supported, where)


def _with_tools(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` with the `functions` and `function_call` of the API before tools as tools."""
    fields = dict(fields)
    functions, choice = fields.pop("functions", None), fields.pop("function_call", None)
    if functions and fields.get("tools"):
        raise RequestError("functions and tools are both given; give tools")
    if isinstance(functions, list) and functions:
        fields["tools"] = [{"type": "function", "function": function} for function in functions]
    elif functions:
        raise RequestError("functions: expected array")
    if choice and "tool_choice" not in fields:
        fields["tool_choice"] = (
            {"type": "function", "function": choice} if isinstance(choice, dict) else choice
        )
    if isinstance(fields.get("tools"), list):
        fields["tools"] = [_usual_tool(tool) for tool in fields["tools"]]
    return fields


def _usual_tool(tool: Any) -> Any:
    """`tool` without null fields, and without what a service caches."""
    if not isinstance(tool, dict):
        return tool
    tool = {name: value for name, value in tool.items() if value is not None and name != "cache_control"}
    if isinstance(tool.get("function"), dict):
        tool["function"] = {name: value for name, value in tool["function"].items() if value is not None}
    return tool


def _with_usual_numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` with 50.0 as the integer 50, and the usual meanings of -1 and of a number of logprobs."""
    for name in _INTEGERS:
        value = fields.get(name)
        if isinstance(value, float) and value.is_integer():
            fields[name] = int(value)
    if fields.get("seed") == -1:  # any
        del fields["seed"]
    if fields.get("top_k") == -1:  # no limit
        fields["top_k"] = 0
    if "thinking_token_budget" in fields:  # vLLM's name
        fields.setdefault("max_reasoning_tokens", fields.pop("thinking_token_budget"))
    logprobs = fields.get("logprobs")
    if isinstance(logprobs, int) and not isinstance(logprobs, bool):  # Together's number of alternatives
        fields["logprobs"] = logprobs > 0
        if logprobs > 0:
            fields.setdefault("top_logprobs", logprobs)
    if fields.get("top_logprobs") == 0 and not fields.get("logprobs"):
        del fields["top_logprobs"]
    return fields
