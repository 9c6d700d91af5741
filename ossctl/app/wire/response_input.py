"""The `input` of a Responses request as messages of Chat Completions.

Reasoning, text and calls of one turn are separate items there, and one assistant message here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from ossctl.app.wire.chat_completions import convert
from ossctl.errors import RequestError

Json = dict[str, Any]
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class InputText(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    type: str = "input_text"
    prompt_cache_breakpoint: Any = None


class OutputText(msgspec.Struct, forbid_unknown_fields=True):
    """Text of an earlier answer, with what an SDK returns beside it."""

    text: str
    type: str = "output_text"
    annotations: Any = None
    logprobs: Any = None
    parsed: Any = None


class Refusal(msgspec.Struct, forbid_unknown_fields=True):
    refusal: str
    type: str = "refusal"

    @property
    def text(self) -> str:
        return self.refusal


class ReasoningText(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    type: str = "reasoning_text"


class Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Json]
    type: str = "message"
    id: str = ""
    status: str = ""
    phase: str = ""


class Reasoning(msgspec.Struct, forbid_unknown_fields=True):
    """Reasoning of an earlier answer; `encrypted_content` can be read only by the service that wrote it."""

    summary: list[Json] = []
    content: list[Json] = []
    type: str = "reasoning"
    id: str = ""
    status: str = ""
    encrypted_content: str = ""


class Call(msgspec.Struct, forbid_unknown_fields=True):
    call_id: str
    name: str
    arguments: str
    type: str = "function_call"
    id: str = ""
    status: str = ""
    parsed_arguments: Any = None


class CallOutput(msgspec.Struct, forbid_unknown_fields=True):
    call_id: str
    output: str | list[Json]
    type: str = "function_call_output"
    id: str = ""
    status: str = ""
    name: str = ""


Item = Message | Reasoning | Call | CallOutput
_ITEMS: Mapping[str, type[Item]] = {
    "message": Message,
    "reasoning": Reasoning,
    "function_call": Call,
    "function_call_output": CallOutput,
}
_TEXTS: Mapping[str, type[InputText | OutputText | Refusal]] = {
    "input_text": InputText,
    "output_text": OutputText,
    "refusal": Refusal,
}
_REASONING_TEXTS = {"reasoning_text": ReasoningText, "summary_text": ReasoningText}


class ChatMessages:
    """Collects `messages`; `origins` maps their paths, such as `messages[1]`, to paths in the request."""

    def __init__(self, instructions: str, given: str | Sequence[Json]) -> None:
        """Convert `instructions` and `input`. Raises RequestError, which names the item and its field."""
        self.messages: list[Json] = []
        self.origins: dict[str, str] = {}
        self._turn: Json | None = None  # the assistant message that the next item may belong to
        self._called: set[str] = set()
        if instructions:
            self._append({"role": "system", "content": instructions}, "instructions")
        if isinstance(given, str):
            self._append({"role": "user", "content": given}, "input")
            return
        if not given:
            raise RequestError("input is empty")
        for position, item in enumerate(given):
            where = f"input[{position}]"
            self._add(_read(item, _ITEMS, where, default="message"), where)
        self._end_turn()

    def _add(self, item: Item, where: str) -> None:
        match item:
            case Message(role="assistant"):
                self._assistant(where)["content"] = _texts(item.content, f"{where}.content")
            case Message():
                content = _texts(item.content, f"{where}.content")
                self._append({"role": item.role, "content": content}, where)
            case Reasoning():
                if text := _reasoning(item, where):
                    turn = self._assistant(where)
                    turn["reasoning_content"] = "\n".join(filter(None, (turn.get("reasoning_content"), text)))
            case Call():
                self._add_call(item, where)
            case CallOutput():
                if item.call_id not in self._called:
                    raise RequestError(f"{where}.call_id: no earlier call has the id {item.call_id[:80]!r}")
                content = _texts(item.output, f"{where}.output")
                self._append({"role": "tool", "tool_call_id": item.call_id, "content": content}, where)

    def _add_call(self, call: Call, where: str) -> None:
        if call.call_id in self._called:
            raise RequestError(f"{where}.call_id: duplicate {call.call_id[:80]!r}")
        self._called.add(call.call_id)
        turn = self._turn or self._assistant(where)
        calls = turn.setdefault("tool_calls", [])
        self.origins[f"messages[{len(self.messages) - 1}].tool_calls[{len(calls)}].function"] = where
        function = {"name": call.name, "arguments": call.arguments}
        calls.append({"id": call.call_id, "type": "function", "function": function})

    def _assistant(self, where: str) -> Json:
        """The message of the present turn, or a new one if that has its text or calls already."""
        turn = self._turn
        if turn is None or "content" in turn or "tool_calls" in turn:
            turn = {"role": "assistant"}
            self._append(turn, where)
            self._turn = turn
        return turn

    def _append(self, message: Json, where: str) -> None:
        self._end_turn()
        self.origins[f"messages[{len(self.messages)}]"] = where
        self.messages.append(message)

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None and "content" not in turn and "tool_calls" not in turn:
            where = self.origins[f"messages[{len(self.messages) - 1}]"]
            raise RequestError(f"{where}: reasoning must be followed by its message or call")


def _texts(content: str | list[Json], where: str) -> str | list[Json]:
    """The content of a chat message: text, or text parts."""
    if isinstance(content, str):
        return content
    parts = (_read(part, _TEXTS, f"{where}[{position}]") for position, part in enumerate(content))
    return [{"type": "text", "text": part.text} for part in parts]


def _reasoning(item: Reasoning, where: str) -> str:
    """The reasoning itself, else its summary."""
    name = "content" if item.content else "summary"
    parts = getattr(item, name)
    return "\n".join(
        _read(part, _REASONING_TEXTS, f"{where}.{name}[{position}]").text
        for position, part in enumerate(parts)
    )


def _read(value: Json, kinds: Mapping[str, type[_Struct]], where: str, default: str = "") -> _Struct:
    """Convert `value` to the type that its `type` names; null fields count as not given."""
    value = {name: each for name, each in value.items() if each is not None}
    kind = value.get("type", default)
    if not isinstance(kind, str) or kind not in kinds:
        raise RequestError(f"{where}.type: {kind!r} is not supported, must be {' or '.join(kinds)}")
    try:
        return convert(value, kinds[kind])
    except RequestError as error:
        raise RequestError(f"{where}.{error.message}") from None
