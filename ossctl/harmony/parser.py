"""Parsing the token ids of an answer into events, without losing text however malformed it is."""

import codecs
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto

from ossctl.dialect import Answer, Event, Reasoning, Recovered, ToolCall
from ossctl.harmony.header_fields import Kind, MessageHeader, Part, may_continue, read_header
from ossctl.harmony.markers import Markers
from ossctl.harmony.native_tools import ORDINARY, Recipients

# A longer part of a header is taken for text that has lost its header.
_MAX_WORDS = 4
_MAX_CHARACTERS = 256

_BETWEEN_MESSAGES = "\n\n"


class _State(Enum):
    HEADER = auto()
    CONTENT = auto()
    BETWEEN = auto()  # after the end of a message


class HarmonyParser:
    """Parses an answer that starts right after `<|start|>assistant`."""

    def __init__(
        self,
        piece: Callable[[int], bytes],
        markers: Markers,
        special_ids: frozenset[int],
        recipients: Recipients = ORDINARY,
    ) -> None:
        self._piece = piece
        self._recipients = recipients
        self._markers = markers
        self._names: Mapping[int, str] = markers.names
        self._special = special_ids
        self._ends = frozenset((markers.end, markers.call, markers.done))
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._state = _State.HEADER
        self._role = "assistant"  # of the header, if it does not name one itself
        self._parts = [Part("role", "")]
        self._header_tokens = 0
        self._kind: Kind = Answer
        self._call: str | None = None  # the recipient of the current message, if it is a call
        self._arguments: list[str] = []
        self._seen: set[Kind] = set()  # kinds of text so far
        self._first = True  # whether the current message has no text yet
        self._reasoning_tokens = 0
        self._in_text = False  # whether the latest token was text

    @property
    def reasoning_tokens(self) -> int:
        return self._reasoning_tokens

    @property
    def answering(self) -> bool:
        answer = self._state is _State.CONTENT and self._kind is not Reasoning and self._call is None
        return answer and self._in_text

    def feed(self, token: int) -> Sequence[Event]:
        self._in_text = token not in self._special
        if not self._in_text:
            return self._marker(token)
        text = self._decode(self._piece(token))
        if self._state is _State.CONTENT:
            self._reasoning_tokens += self.in_reasoning
            return self._text(text)
        if self._state is _State.HEADER:
            return self._header_text(text)
        self._open(Answer)
        return [Recovered("text outside of a message"), *self._text(text)]

    @property
    def in_reasoning(self) -> bool:
        """Whether the next text token is reasoning."""
        return self._state is _State.CONTENT and self._kind is Reasoning and self._call is None

    def close(self, *, cut: bool) -> Sequence[Event]:
        if self._state is _State.HEADER:  # one that was cut off is neither an error nor text
            return () if may_continue(self._parts, role=self._role) else self._lost_header()
        if self._state is _State.BETWEEN:
            return ()
        return self._end_message(cut=cut)

    def _marker(self, token: int) -> Sequence[Event]:
        if self._state is _State.HEADER:
            return self._marker_in_header(token)
        if self._state is _State.CONTENT:
            return self._marker_in_content(token)
        return self._marker_between(token)

    def _marker_in_header(self, token: int) -> Sequence[Event]:
        markers = self._markers
        self._header_tokens += token != markers.start  # which belongs to the next header
        self._add_to_header(self._decode(b"", True))
        if token == markers.message:
            return self._begin_content(read_header(self._parts, role=self._role), ())
        if token == markers.channel:
            self._parts.append(Part("channel", ""))
            return ()
        if token == markers.constrain:
            self._parts.append(Part("constrain", ""))
            return ()
        if token not in self._ends and token != markers.start:
            return [Recovered(f"{self._spelling(token)} in a header")]
        empty = len(self._parts) == 1 and self._parts[0].text.strip() in ("", "assistant")
        lost = [Recovered("an empty message")] if empty else self._lost_header()
        if token == markers.start:
            self._begin_header()
        else:
            self._state = _State.BETWEEN
        return lost

    def _marker_in_content(self, token: int) -> Sequence[Event]:
        if token in self._ends:
            reasoning = self.in_reasoning
            self._reasoning_tokens += reasoning
            events = self._end_message()
            if reasoning and token != self._markers.end:
                events.append(Recovered("the turn ended after its reasoning"))
            return events
        if token not in (self._markers.start, self._markers.channel):
            return [Recovered(f"{self._spelling(token)} inside a message")]
        events = self._end_message()
        self._begin_header(token)
        return [*events, Recovered("a message without an end")]

    def _marker_between(self, token: int) -> Sequence[Event]:
        if token == self._markers.start:
            self._begin_header()
            return ()
        if token == self._markers.channel:
            self._begin_header(token)
            return [Recovered("a message without <|start|>")]
        if token == self._markers.message:
            self._open(Answer)
            return [Recovered("a message without a header")]
        return [Recovered(f"{self._spelling(token)} outside of a message")]

    def _begin_header(self, token: int | None = None) -> None:
        """Start a header at `<|start|>`, or at `<|channel|>` where the role was left out."""
        self._state = _State.HEADER
        self._header_tokens = 1
        self._role = ""
        self._parts = [Part("role", "")]
        if token == self._markers.channel:
            self._role = "assistant"
            self._parts.append(Part("channel", ""))

    def _header_text(self, text: str) -> Sequence[Event]:
        self._header_tokens += 1
        self._add_to_header(text)
        latest = self._parts[-1].text
        too_long = len(latest) > _MAX_CHARACTERS or len(latest.split()) > _MAX_WORDS
        return self._lost_header(ended=False) if too_long else ()

    def _add_to_header(self, text: str) -> None:
        if text:
            latest = self._parts[-1]
            self._parts[-1] = Part(latest.after, latest.text + text)

    def _lost_header(self, *, ended: bool = True) -> list[Event]:
        """End a header without `<|message|>`: what is not part of a header becomes content."""
        if ended:
            self._add_to_header(self._decode(b"", True))
        header = read_header(self._parts, role=self._role, ended=False)
        text, header.stray = header.stray, ""
        events = self._begin_content(header, ("<|message|> is missing",))
        events += self._text(text)
        return [*events, *self._end_message()] if ended else events

    def _begin_content(self, header: MessageHeader, complaints: Sequence[str]) -> list[Event]:
        """Start the content. Stray text of the header precedes it and is never part of a call."""
        events: list[Event] = [Recovered(what) for what in (*complaints, *header.complaints)]
        if header.stray:
            self._open(header.kind)
            events += self._text(header.stray)
        self._open(header.kind, header.call)
        return events

    def _open(self, kind: Kind, call: str | None = None) -> None:
        self._state = _State.CONTENT
        self._kind, self._call = kind, call
        self._first = True
        if self.in_reasoning:
            self._reasoning_tokens += self._header_tokens
        self._header_tokens = 0

    def _text(self, text: str) -> Sequence[Event]:
        if not text:
            return ()
        if self._call is not None:
            self._arguments.append(text)
            return ()
        if self._first:
            self._first = False
            if self._kind in self._seen:
                text = _BETWEEN_MESSAGES + text
            self._seen.add(self._kind)
        return (self._kind(text),)

    def _end_message(self, *, cut: bool = False) -> list[Event]:
        events = list(self._text(self._decode(b"", True)))
        if self._call is not None:
            recipient, self._call = self._call, None
            events += self._tool_call(recipient, "".join(self._arguments), cut=cut)
            self._arguments.clear()
        self._state = _State.BETWEEN
        return events

    def _tool_call(self, recipient: str, content: str, *, cut: bool) -> list[Event]:
        """The call. A native one that was cut off is reasoning instead: half a program must not run."""
        if not cut:
            return self._recipients.call(recipient, content)
        name = self._recipients.function(recipient)
        complaint = Recovered(f"the call of {name} was cut off")
        if not self._recipients.native(name):
            return [complaint, ToolCall(name, content, cut=True)]
        self._kind, self._first = Reasoning, True
        return [complaint, *self._text(content)]

    def _spelling(self, token: int) -> str:
        return self._names.get(token) or self._piece(token).decode("utf-8", "replace")
