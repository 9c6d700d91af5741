"""Messages as SDKs and servers give them back, in the form that a request has.

An SDK's `message.model_dump()` has fields that are null or say what is known already. Older files have
`function_call`, Ollama has calls without ids and arguments as objects.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ossctl.errors import RequestError

Object = dict[str, Any]

# Fields that say nothing to the model. `name` repeats what a call's id says, or labels a speaker, which chat
# formats have no place for.
_BOOKKEEPING = frozenset({
    "id", "index", "name", "annotations", "cache_control", "citations", "logprobs", "parsed",
    "parsed_arguments", "provider_specific_fields", "reasoning_details", "thinking_blocks", "extra_content",
    "weight", "status",
})  # fmt: skip
_REASONING = ("reasoning_content", "reasoning", "thinking")
_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_OTHER_MEDIA = ("image", "audio", "video", "file", "document")
_TEXT_ONLY = "the model reads text only"


def usual_messages(messages: list[Any], where: str = "") -> list[Any]:
    """`messages` in the form of a request. What is not understood is left to the parser.

    Raises RequestError, with a path that starts with `where`.
    """
    calls = _Calls()
    return [
        _usual_message(message, calls, f"{where}messages[{position}]")
        if isinstance(message, dict)
        else message
        for position, message in enumerate(messages)
    ]


class _Calls:
    """The calls of the messages so far that have no result yet, by their ids."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, bool]] = {}  # the function, and whether the id was given
        self._count = 0

    def add(self, call: Object) -> Object:
        """`call` with an id, which no service would give."""
        given = call.get("id") not in (None, "")
        if not given:
            self._count += 1
            call = {**call, "id": f"#{self._count}"}
        function = call.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(call["id"], str) and isinstance(name, str):
            self._open[call["id"]] = (name, given)
        return call

    def answered(self, call_id: object) -> None:
        if isinstance(call_id, str):
            self._open.pop(call_id, None)

    def answered_by(self, name: object) -> str | None:
        """The id of the first call of the function `name`, or of any that was given without an id."""
        for call_id, (function, given) in self._open.items():
            if (name == function) if name is not None else not given:
                del self._open[call_id]
                return call_id
        return None


def _usual_message(message: Object, calls: _Calls, field: str) -> Object:
    role = message.get("role")
    result = _cleaned(message)
    if result.get("type") == "message":
        del result["type"]
    _refuse_media(result, field)
    if role == "assistant":
        _restore_empty_content(message, result)
        _convert_function_call(result)
    if role in ("tool", "function"):
        _find_call(message, result, calls, field)
    _merge_reasoning(result, field)
    if isinstance(result.get("content"), list):
        result["content"] = [
            _usual_part(part, f"{field}.content[{position}]")
            for position, part in enumerate(result["content"])
        ]
    if isinstance(result.get("tool_calls"), list):
        result["tool_calls"] = [
            calls.add(_usual_call(call)) if isinstance(call, dict) else call for call in result["tool_calls"]
        ]
    return result


def _cleaned(given: Mapping[str, Any], keep: tuple[str, ...] = ()) -> Object:
    """`given` without null fields and those that say nothing."""
    return {
        name: value
        for name, value in given.items()
        if value is not None and (name not in _BOOKKEEPING or name in keep)
    }


def _refuse_media(message: Object, field: str) -> None:
    for name in ("audio", "images"):
        if message.pop(name, None):
            raise RequestError(f"{field}.{name} is not supported: {_TEXT_ONLY}")


def _restore_empty_content(message: Object, result: Object) -> None:
    """An assistant's content may be null: a refusal says something, anything else does not."""
    refusal = result.pop("refusal", "")
    if "content" in message and message["content"] in (None, "") and isinstance(refusal, str):
        result["content"] = refusal


def _convert_function_call(result: Object) -> None:
    """The call of the API before tools."""
    call = result.pop("function_call", None)
    if call and not result.get("tool_calls"):
        result["tool_calls"] = [{"type": "function", "function": call}]


def _find_call(message: Object, result: Object, calls: _Calls, field: str) -> None:
    """Name the call that a result answers, which Ollama and the API before tools name by its function."""
    name = message.get("tool_name") or message.get("name")
    result.pop("tool_name", None)
    if "tool_call_id" in result:
        calls.answered(result["tool_call_id"])
        return
    call_id = calls.answered_by(name)
    if call_id is not None:
        result["tool_call_id"] = call_id
    elif isinstance(name, str):
        raise RequestError(f"{field}.name: no earlier call of {name[:80]!r} is without a result")
    if message.get("role") == "function":
        result["role"] = "tool"


def _merge_reasoning(result: Object, field: str) -> None:
    given = {name: result.pop(name) for name in _REASONING if name in result}
    said = {name: text for name, text in given.items() if text != ""}
    if len(said) > 1 and len(set(map(repr, said.values()))) > 1:
        first, second, *_ = said
        raise RequestError(f"{field}: {first} and {second} differ; give one of them")
    if said:
        result["reasoning_content"] = next(iter(said.values()))


def _usual_part(part: Any, field: str) -> Any:
    """A part with text as a `text` part."""
    if not isinstance(part, dict):
        return part
    result = _cleaned(part)
    kind = result.get("type")
    if not isinstance(kind, str):
        return result
    if kind in _TEXTS:
        name = _TEXTS[kind]
        text = {"text": result.pop(name)} if name in result else {}
        return {**result, **text, "type": "text"}
    if any(name in kind for name in _OTHER_MEDIA):
        raise RequestError(f"{field}.type: {kind[:80]!r} is not supported: {_TEXT_ONLY}")
    return result


def _usual_call(call: Object) -> Object:
    """A call with its arguments as text."""
    result = _cleaned(call, keep=("id",))
    function = result.get("function")
    if isinstance(function, dict):
        result["function"] = written = _cleaned(function, keep=("name",))
        if "arguments" in function and not isinstance(written.get("arguments"), str):
            written["arguments"] = _as_text(written.get("arguments"))
    return result


def _as_text(arguments: object) -> object:
    """JSON of an object; null is the same as an empty one."""
    if arguments is None:
        return "{}"
    return msgspec.json.encode(arguments).decode() if isinstance(arguments, dict) else arguments
