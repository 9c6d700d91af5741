"""Parsing answers of models with a chat template into reasoning and answer."""

import codecs
from collections.abc import Callable, Sequence
from enum import Enum, auto

from ossctl.dialect import Answer, Event, Reasoning
from ossctl.text import undecided

THINK_START, THINK_END = "<think>", "</think>"


class _State(Enum):
    START = auto()  # only whitespace so far: reasoning may follow
    THINKING = auto()
    AFTER = auto()  # whitespace between reasoning and answer
    ANSWERING = auto()


class TemplateParser:
    """Splits an answer into reasoning (`<think>…</think>` at its start) and the rest.

    A later tag is text, since the model may be writing about it.
    """

    def __init__(
        self, piece: Callable[[int], bytes], control_ids: frozenset[int], *, thinking: bool = False
    ) -> None:
        self._piece = piece
        self._control = control_ids
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._state = _State.THINKING if thinking else _State.START
        self._first = thinking  # strip whitespace at the start of the reasoning
        self._count = self._reasoning_tokens = 0

    @property
    def reasoning_tokens(self) -> int:
        return self._reasoning_tokens

    @property
    def answering(self) -> bool:
        if self._state is _State.AFTER:
            return self._decoder.getstate()[0] != b""  # a character has started
        return self._state is not _State.THINKING

    def feed(self, token: int) -> Sequence[Event]:
        self._count += 1
        events = self._feed(token)
        if not self.answering:
            self._reasoning_tokens = self._count
        return events

    def _feed(self, token: int) -> Sequence[Event]:
        """Control tokens are not text, except for the tags."""
        piece = self._piece(token)
        if token in self._control and piece.decode("utf-8", "replace") not in (THINK_START, THINK_END):
            return ()
        return self._take(self._decoder.decode(piece))

    def close(self, *, cut: bool) -> Sequence[Event]:  # noqa: ARG002 (a cut makes no difference)
        events = list(self._take(self._decoder.decode(b"", final=True)))
        held, self._held = self._held, ""
        if held and self._state is not _State.AFTER:
            events.append(self._event(held))
        return events

    def _take(self, text: str) -> Sequence[Event]:
        if self._state is _State.ANSWERING:
            return (Answer(text),) if text else ()
        self._held += text
        events: list[Event] = []
        if self._state is _State.START:
            self._start()
        if self._state is _State.THINKING:
            self._think(events)
        if self._state is _State.AFTER:
            self._held = self._held.lstrip()
            if self._held:
                self._state = _State.ANSWERING
        if self._state is _State.ANSWERING and self._held:
            events.append(Answer(self._held))
            self._held = ""
        return events

    def _start(self) -> None:
        begun = self._held.lstrip()
        if begun.startswith(THINK_START):
            self._held = begun.removeprefix(THINK_START)
            self._state, self._first = _State.THINKING, True
        elif not THINK_START.startswith(begun):
            self._state = _State.ANSWERING

    def _think(self, events: list[Event]) -> None:
        if self._first:
            self._held = self._held.lstrip()
            self._first = not self._held
        before, tag, after = self._held.partition(THINK_END)
        if tag:
            self._state, self._held = _State.AFTER, after
        else:
            sure = len(before) - undecided(before, [THINK_END])
            before, self._held = before[:sure], before[sure:]
        if before:
            events.append(Reasoning(before))

    def _event(self, text: str) -> Event:
        return Reasoning(text) if self._state is _State.THINKING else Answer(text)
