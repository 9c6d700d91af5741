"""The messages of a chat in order, and the part of them that the model still sees."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

from ossctl.dialect import Message

State = Literal["partial", "whole", "stopped"]

_SUMMARY = "Summary of our conversation before this message:"


@dataclass(frozen=True)
class MessageEntry:
    """A message. `details` describe how an answer was generated; `created` is an ISO 8601 time."""

    message: Message
    id: int = 0
    state: State = "whole"
    created: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ContextCut:
    """Hides the messages up to id `covers`. The model sees `summary` instead, if it is not empty."""

    summary: str
    covers: int
    id: int = 0
    created: str = ""


Entry = MessageEntry | ContextCut


@dataclass(frozen=True)
class Turn:
    """A user message with the answers and tool results that follow. `start` is its index in the entries."""

    number: int
    start: int
    entries: tuple[MessageEntry, ...]

    @property
    def text(self) -> str:
        """The user's message."""
        return self.entries[0].message.content

    @property
    def last_id(self) -> int:
        return self.entries[-1].id


@dataclass(frozen=True)
class Transcript:
    """All entries of a chat, oldest first."""

    entries: tuple[Entry, ...] = ()

    def with_entry(self, entry: Entry) -> "Transcript":
        return Transcript((*self.entries, entry))

    def before(self, turn: Turn) -> "Transcript":
        """The transcript without `turn` and everything after it."""
        return Transcript(self.entries[: turn.start])

    @property
    def awaits_answer(self) -> bool:
        """Whether the last message is the user's."""
        messages = [entry for entry in self.entries if isinstance(entry, MessageEntry)]
        return bool(messages) and messages[-1].message.role == "user"

    @property
    def tip(self) -> int | None:
        """The id of the latest entry."""
        return self.entries[-1].id if self.entries else None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns, numbered from 1."""
        return tuple(self._turns())

    @property
    def cut(self) -> ContextCut | None:
        """The latest cut, which overrides earlier ones."""
        return next((entry for entry in reversed(self.entries) if isinstance(entry, ContextCut)), None)

    @property
    def hidden(self) -> int:
        """Number of turns that the model no longer sees."""
        cut = self.cut
        ends = [turn.last_id for turn in self.turns]
        return ends.index(cut.covers) + 1 if cut and cut.covers in ends else 0

    @property
    def answers(self) -> tuple[MessageEntry, ...]:
        """The assistant's messages that do not call tools."""
        return tuple(
            entry
            for entry in self.entries
            if isinstance(entry, MessageEntry)
            and entry.message.role == "assistant"
            and not entry.message.calls
        )

    def messages(self, turns: int | None = None) -> tuple[Message, ...]:
        """The messages that the model sees, optionally of the first `turns` turns only.

        A summary is part of the first visible user message, where every chat format has a place for it.
        """
        visible = self.turns[self.hidden : turns]
        messages = [entry.message for turn in visible for entry in turn.entries]
        cut = self.cut
        if cut and cut.summary and messages:
            text = f"{_SUMMARY}\n\n{cut.summary}\n\n---\n\n{messages[0].content}"
            messages[0] = replace(messages[0], content=text)
        return tuple(messages)

    def _turns(self) -> Iterator[Turn]:
        starts = [
            index
            for index, entry in enumerate(self.entries)
            if isinstance(entry, MessageEntry) and entry.message.role == "user"
        ]
        for number, (start, end) in enumerate(pairwise([*starts, len(self.entries)]), start=1):
            entries = tuple(entry for entry in self.entries[start:end] if isinstance(entry, MessageEntry))
            yield Turn(number, start, entries)
