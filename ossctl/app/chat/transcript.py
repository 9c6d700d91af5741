"""What was said in a chat, in order, and what of it the model still sees."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

from ossctl.dialect import Message

State = Literal["partial", "whole", "stopped"]

_SUMMARY = "Summary of our conversation before this message:"


@dataclass(frozen=True)
class Said:
    """A message. `details` says of an answer how it was made; `created` is a time in ISO 8601."""

    message: Message
    id: int = 0
    state: State = "whole"
    created: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """From here on the model sees `summary`, if there is one, instead of all up to the message `covers`."""

    summary: str
    covers: int
    id: int = 0
    created: str = ""


Entry = Said | Cut


@dataclass(frozen=True)
class Turn:
    """A message of the user's and all that came of it; `start` is its place among the entries."""

    number: int
    start: int
    entries: tuple[Said, ...]

    @property
    def text(self) -> str:
        """What the user said."""
        return self.entries[0].message.content

    @property
    def last_id(self) -> int:
        return self.entries[-1].id


@dataclass(frozen=True)
class Transcript:
    """The entries from the first to the latest."""

    entries: tuple[Entry, ...] = ()

    def with_entry(self, entry: Entry) -> "Transcript":
        return Transcript((*self.entries, entry))

    def before(self, turn: Turn) -> "Transcript":
        """As it was when the user said that."""
        return Transcript(self.entries[: turn.start])

    @property
    def awaits_answer(self) -> bool:
        """Whether the user had the last word."""
        said = [entry for entry in self.entries if isinstance(entry, Said)]
        return bool(said) and said[-1].message.role == "user"

    @property
    def tip(self) -> int | None:
        """The id of the latest entry."""
        return self.entries[-1].id if self.entries else None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns, from 1 on."""
        return tuple(self._turns())

    @property
    def cut(self) -> Cut | None:
        """The latest cut, which holds."""
        return next((entry for entry in reversed(self.entries) if isinstance(entry, Cut)), None)

    @property
    def hidden(self) -> int:
        """How many turns the model does not see any more."""
        cut = self.cut
        ends = [turn.last_id for turn in self.turns]
        return ends.index(cut.covers) + 1 if cut and cut.covers in ends else 0

    @property
    def answers(self) -> tuple[Said, ...]:
        """The model's last words of each turn."""
        return tuple(
            entry
            for entry in self.entries
            if isinstance(entry, Said) and entry.message.role == "assistant" and not entry.message.calls
        )

    def messages(self, turns: int | None = None) -> tuple[Message, ...]:
        """What the model sees, of the first so many `turns` if that is given.

        A summary stands before the first message of the user's that is left: every chat format has a place
        for it there.
        """
        seen = self.turns[self.hidden : turns]
        messages = [entry.message for turn in seen for entry in turn.entries]
        cut = self.cut
        if cut and cut.summary and messages:
            text = f"{_SUMMARY}\n\n{cut.summary}\n\n---\n\n{messages[0].content}"
            messages[0] = replace(messages[0], content=text)
        return tuple(messages)

    def _turns(self) -> Iterator[Turn]:
        starts = [
            place
            for place, entry in enumerate(self.entries)
            if isinstance(entry, Said) and entry.message.role == "user"
        ]
        for number, (start, end) in enumerate(pairwise([*starts, len(self.entries)]), start=1):
            said = tuple(entry for entry in self.entries[start:end] if isinstance(entry, Said))
            yield Turn(number, start, said)
