"""Finding calls in text that arrives in pieces, without showing any part of their markers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ossctl.dialect import Answer, Event, Recovered, Schema, ToolCall
from ossctl.templates.call_reader import CallReader, Found
from ossctl.templates.template_format import CallFormat
from ossctl.text import undecided

# Tried for models whose template shows no call, although they were trained on one of these forms.
_JSON = CallFormat("json", "", "", "", "", "", name_path=("name",), arguments_path=("arguments",))
USUAL_FORM = replace(_JSON, call_start="<tool_call>", call_end="</tool_call>")
_USUAL_FORMS = (
    USUAL_FORM,
    replace(_JSON, section_start="<|tool_call|>", array=True),
    CallFormat("python", "<|tool_call_start|>[", "{NAME}(", "", ", ", "]<|tool_call_end|>"),
    CallFormat("python", "", "[{NAME}(", "", ", ", "]"),
    _JSON,
)

_BETWEEN_CALLS = "]}), \n"


class Reader(Protocol):
    """What `CallReader` does, for one format or for several."""

    @property
    def triggers(self) -> tuple[str, ...]: ...
    @property
    def at_start(self) -> tuple[str, ...]: ...
    @property
    def closings(self) -> tuple[str, ...]: ...
    def may_start(self, text: str) -> bool: ...
    def name_in(self, text: str) -> tuple[str, str] | None: ...
    def read(self, text: str) -> Found: ...


class AnyReader:
    """Reads the first of several formats that has a call."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = readers

    @property
    def triggers(self) -> tuple[str, ...]:
        return tuple({text for reader in self._readers for text in reader.triggers})

    @property
    def at_start(self) -> tuple[str, ...]:
        return tuple({text for reader in self._readers for text in reader.at_start})

    @property
    def closings(self) -> tuple[str, ...]:
        return tuple({text for reader in self._readers for text in reader.closings})

    def may_start(self, text: str) -> bool:
        return any(reader.may_start(text) for reader in self._readers)

    def name_in(self, text: str) -> tuple[str, str] | None:
        return self._readers[0].name_in(text)

    def read(self, text: str) -> Found:
        found = (reader.read(text) for reader in self._readers)
        return next((one for one in found if one.calls), Found(text, (), ""))


def reader_for(form: CallFormat | None, tools: Mapping[str, Schema | None]) -> Reader | None:
    """A reader for calls of `tools`; None if there are no tools."""
    if not tools:
        return None
    if form is not None:
        return CallReader(form, tools)
    return AnyReader([CallReader(usual, tools) for usual in _USUAL_FORMS])


class CallStream:
    """Turns text into answer and calls."""

    def __init__(self, reader: Reader | None, endings: Sequence[str] = ()) -> None:
        """`endings` are markers that may end the text of an answer."""
        self._reader = reader
        self._endings = tuple(filter(None, endings))
        self._triggers = (reader.triggers if reader else ()) + self._endings
        self._held = ""
        self._started = False  # whether there was text
        self._calling = False  # whether `_held` starts with what may be a call
        self._emitted = 0  # calls of those in `_held`

    @property
    def calling(self) -> bool:
        return self._calling

    def take(self, text: str) -> Iterator[Event]:
        """The events that `text` completes."""
        self._held += text
        while self._held and self._reader is not None and self._calling:
            if self._reader.may_start(self._held):
                yield from self._completed(text)
                return
            self._calling = False
            yield from self._pass(1)  # the marker is text, look behind its first character
            yield from self._search()
        if not self._calling:
            yield from self._search()
            if self._calling:
                yield from self.take("")

    def close(self, *, cut: bool) -> Iterator[Event]:
        """The events of what was held back."""
        held, self._held = self._held, ""
        if not held:
            return
        if not self._calling or self._reader is None:
            marker = undecided(held, self._triggers)
            text = held[: len(held) - marker] if cut and marker > 2 else held
            for ending in self._endings:
                text = text.replace(ending, "")
            yield from _text(text)
            return
        found = self._reader.read(held)
        if found.calls:
            yield from _text(found.before if not self._emitted else "")
            yield from found.calls[self._emitted :]
            yield from self._rest(self._reader, found.after, cut=cut)
        else:
            marked = any(trigger in held for trigger in self._triggers)
            yield from self._broken(self._reader, held, cut=cut, marked=marked)

    def _rest(self, reader: Reader, text: str, *, cut: bool) -> Iterator[Event]:
        """What is left after calls: another that can't be read, or text, but no part of a marker."""
        marker = undecided(text, (*reader.triggers, *reader.closings)) if cut else 0
        sure = text[: len(text) - marker]
        if any(trigger in text for trigger in reader.triggers) or (cut and reader.name_in(sure)):
            yield from self._broken(reader, text, cut=cut, marked=True)
        elif not cut or sure.strip(_BETWEEN_CALLS):
            yield from _text(sure)

    def _broken(self, reader: Reader, held: str, *, cut: bool, marked: bool) -> Iterator[Event]:
        """A call that can't be read: if it is `marked` and names a function, its model is to learn of it."""
        named = reader.name_in(held) if marked else None
        if named is None:
            if cut:
                yield Recovered("a call was cut off")
            yield from _text("" if cut and (marked or not held.strip("<[{|")) else held)
            return
        name, rest = named
        what = "was cut off" if cut else "cannot be read"
        yield Recovered(f"the call of {name} {what}")
        yield ToolCall(name, rest.strip(), cut=cut)

    def _search(self) -> Iterator[Event]:
        """Pass on the text before what may be a call; endings are dropped."""
        if self._reader and not self._started:
            begun = self._held.lstrip()
            if any(begun.startswith(start) for start in self._reader.at_start):
                self._calling = True
                return
        while places := [(at, mark) for mark in self._triggers if (at := self._held.find(mark)) >= 0]:
            at, mark = min(places)
            if mark not in self._endings:
                yield from self._pass(len(self._held[:at].rstrip()))
                self._calling = True
                return
            yield from self._pass(at)
            self._held = self._held[len(mark) :]
        yield from self._pass(len(self._held) - self._undecided())

    def _undecided(self) -> int:
        """The length of the held text's end that may belong to a call."""
        markers = self._triggers
        if self._reader and not self._started:
            begun = self._held.lstrip()
            if any(start.startswith(begun) for start in self._reader.at_start):
                return len(self._held)
        length = undecided(self._held, markers)
        if self._reader:  # blanks before a call are not text
            length = len(self._held) - len(self._held[: len(self._held) - length].rstrip())
        return length

    def _completed(self, text: str) -> Iterator[Event]:
        """Calls whose end is in the new `text`."""
        reader = self._reader
        ended = reader and any(end[-1] in text and end in self._held for end in reader.closings)
        if reader is None or not ended:
            return
        found = reader.read(self._held)
        if found.calls and not found.after:
            if not self._emitted:
                yield from _text(found.before)
            yield from found.calls[self._emitted :]
            self._emitted = len(found.calls)

    def _pass(self, length: int) -> Iterator[Event]:
        text, self._held = self._held[:length], self._held[length:]
        self._started = self._started or bool(text.strip())
        yield from _text(text)


def _text(text: str) -> Iterator[Event]:
    if text:
        yield Answer(text)
