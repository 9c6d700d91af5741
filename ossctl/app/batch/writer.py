"""Records on their way to the journal: as they come, or held back to the input's order."""

from collections.abc import Callable
from typing import Protocol

from ossctl.app.batch.reorder_spool import ReorderSpool
from ossctl.storage.journal import Journal


class Writer(Protocol):
    """Takes the records of lines, by the lines' places in the input."""

    @property
    def held(self) -> int:
        """Records that wait for one before them."""

    def put(self, place: int, record: bytes | None) -> None:
        """A line is done; None if it was before. Raises OutputClosed, OssctlError."""

    def give_up(self) -> None:
        """Nothing more will come: write what is held."""


class AsTheyCome:
    """Writes every record at once."""

    def __init__(self, journal: Journal, done: Callable[[], None]) -> None:
        """`done` is called for each line that is dealt with."""
        self._journal = journal
        self._done = done

    @property
    def held(self) -> int:
        return 0

    def put(self, _place: int, record: bytes | None) -> None:
        """See `Writer.put`."""
        if record is not None:
            self._journal.append(record)
        self._done()

    def give_up(self) -> None:
        """See `Writer.give_up`."""


class InOrder:
    """Holds a record until all before it are written. What it holds counts as not done, which bounds it.

    `waiting` keeps it on disk meanwhile.
    """

    def __init__(self, inner: AsTheyCome, waiting: ReorderSpool | None = None) -> None:
        self._inner = inner
        self._waiting = waiting
        self._next = 0
        self._held: dict[int, bytes | None] = {}

    @property
    def held(self) -> int:
        return sum(record is not None for record in self._held.values())

    def put(self, place: int, record: bytes | None) -> None:
        """See `Writer.put`."""
        self._held[place] = record
        if self._waiting is not None and record is not None and place != self._next:
            self._waiting.keep(record, self._held.values())
        while self._next in self._held:
            self._inner.put(self._next, self._held.pop(self._next))
            self._next += 1

    def give_up(self) -> None:
        """See `Writer.give_up`."""
        for place in sorted(self._held):
            self._inner.put(place, self._held.pop(place))
