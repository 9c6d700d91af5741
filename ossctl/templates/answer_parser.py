"""Parsing the tokens of an answer into reasoning, answer and calls, in the template's own format."""

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto

from ossctl.dialect import Event, Reasoning, Recovered, Schema, ToolCall
from ossctl.templates.call_stream import CallStream, reader_for
from ossctl.templates.template_format import CallFormat, TemplateFormat
from ossctl.text import undecided

USUAL_TAGS = ("<think>", "</think>")  # which models may write although their template does not show them


class _State(Enum):
    START = auto()  # only whitespace so far: reasoning may follow
    THINKING = auto()
    AFTER = auto()  # whitespace between reasoning and answer
    ANSWERING = auto()


class AnswerParser:
    """Splits an answer into reasoning, at its start only, the answer's text, and calls of `tools`.

    Markers and control tokens are not text. What may be the start of a marker is held back.
    """

    def __init__(
        self,
        form: TemplateFormat,
        tools: Mapping[str, Schema | None],
        piece: Callable[[int], bytes],
        control_ids: frozenset[int],
        *,
        thinking: bool = False,
    ) -> None:
        self._piece = piece
        self._control = control_ids
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        reasoning = form.reasoning
        self._think, self._end = (reasoning.start, reasoning.end) if reasoning else USUAL_TAGS
        self._answer_start = form.answer_start
        self._reader = reader_for(form.calls, tools)
        self._calls = CallStream(self._reader, (form.answer_end,))
        self._markers = "\n".join(_markers(form, (self._think, self._end)))
        self._held = self._thought = ""
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
        return self._state is not _State.THINKING and not self._calls.calling

    def feed(self, token: int) -> Sequence[Event]:
        self._count += 1
        events = list(self._take(self._text_of(token)))
        if self._state in (_State.THINKING, _State.AFTER) and not self.answering:
            self._reasoning_tokens = self._count
        return events

    def close(self, *, cut: bool) -> Sequence[Event]:
        events = list(self._take(self._decoder.decode(b"", final=True)))
        held, self._held = self._held, ""
        if self._state is _State.THINKING:
            if held:
                events.append(Reasoning(held))
            return [*events, *self._calls_in_reasoning()]
        if held and self._state is _State.START:
            events += self._calls.take(held)
        return [*events, *self._calls.close(cut=cut)]

    def _text_of(self, token: int) -> str:
        piece = self._piece(token)
        if token in self._control and piece.decode("utf-8", "replace") not in self._markers:
            return ""
        return self._decoder.decode(piece)

    def _take(self, text: str) -> Iterator[Event]:
        """Each step may lead to the next."""
        self._held += text
        if self._state is _State.START:
            self._start()
        if self._state is _State.THINKING:
            yield from self._reason()
        if self._state is _State.AFTER:
            self._after()
        if self._state is _State.ANSWERING and self._held:
            held, self._held = self._held, ""
            yield from self._calls.take(held)

    def _start(self) -> None:
        begun = self._held.lstrip()
        for mark in filter(None, (self._think, self._answer_start)):
            if begun.startswith(mark):
                self._held = begun.removeprefix(mark)
                self._state = _State.THINKING if mark == self._think else _State.ANSWERING
                self._first = True
                return
        if not any(mark.startswith(begun) for mark in (self._think, self._answer_start) if mark):
            self._state = _State.ANSWERING

    def _reason(self) -> Iterator[Event]:
        if self._first:
            self._held = self._held.lstrip()
            self._first = not self._held
        before, tag, after = self._held.partition(self._end)
        if tag:
            self._state, self._held = _State.AFTER, after
        else:
            sure = len(before) - undecided(before, [self._end])
            before, self._held = before[:sure], before[sure:]
        if before:
            self._thought += before if self._reader else ""
            yield Reasoning(before)

    def _after(self) -> None:
        self._held = self._held.lstrip()
        if self._answer_start and self._held.startswith(self._answer_start):
            self._held = self._held.removeprefix(self._answer_start)
            self._state = _State.ANSWERING
        elif self._held and not (self._answer_start and self._answer_start.startswith(self._held)):
            self._state = _State.ANSWERING

    def _calls_in_reasoning(self) -> Iterator[Event]:
        """Calls that a model has written without ending its reasoning first."""
        found: tuple[ToolCall, ...] = self._reader.read(self._thought).calls if self._reader else ()
        if found:
            yield Recovered("calls inside of reasoning that has no end")
            yield from found


def _markers(form: TemplateFormat, tags: Sequence[str]) -> Iterator[str]:
    """All texts whose tokens are not dropped although they are control tokens."""
    yield from (*tags, form.answer_start, form.answer_end)
    if isinstance(form.calls, CallFormat):
        calls = form.calls
        yield from (calls.section_start, calls.call_start, calls.call_end, calls.separator)
        yield from (calls.section_end, calls.quote)
        if calls.tagged:
            yield from (calls.tagged.key_start, calls.tagged.value_end, calls.tagged.separator)
            yield from (middle for middle, _ in calls.tagged.middles)
    else:
        yield "<tool_call></tool_call><|tool_call|><|tool_call_start|><|tool_call_end|>"
