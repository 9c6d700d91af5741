"""Writes records to the journal, as they are finished or in the order of the input."""

from collections.abc import Callable
from typing import Protocol

from ossctl.app.batch.held_records import HeldRecords
from ossctl.storage.journal import Journal


class Writer(Protocol):
    """Takes one record per line; `index` counts the lines of the input from 0."""

    @property
    def held(self) -> int:
        """The number of records that wait for an earlier line."""

    def put(self, index: int, record: bytes | None) -> None:
        """Finish a line; `record` is None if the output already has it. Raises OutputClosed, OssctlError."""

    def flush(self) -> None:
        """Write the records that wait, because the batch ends early."""


class UnorderedWriter:
    """Writes every record at once."""

    def __init__(self, journal: Journal, done: Callable[[], None]) -> None:
        """`done` is called for each line that is finished."""
        self._journal = journal
        self._done = done

    @property
    def held(self) -> int:
        return 0

    def put(self, _index: int, record: bytes | None) -> None:
        if record is not None:
            self._journal.append(record)
        self._done()

    def flush(self) -> None:
        pass


class HandingBack:
    """Gives records, with their indices, to a function instead of a file."""

    def __init__(self, give_back: Callable[[int, bytes | None], None], done: Callable[[], None]) -> None:
        self._give_back = give_back
        self._done = done

    @property
    def held(self) -> int:
        return 0

    def put(self, index: int, record: bytes | None) -> None:
        self._give_back(index, record)
        self._done()

    def flush(self) -> None:
        pass


class OrderedWriter:
    """Holds records back until those of all earlier lines are written.

    A held line does not count as done, so that the reader's limit also bounds what is held. The `spool` keeps
    a copy on disk.
    """

    def __init__(self, inner: UnorderedWriter, spool: HeldRecords | None = None) -> None:
        self._inner = inner
        self._spool = spool
        self._next = 0
        self._held: dict[int, bytes | None] = {}

    @property
    def held(self) -> int:
        return sum(record is not None for record in self._held.values())

    def put(self, index: int, record: bytes | None) -> None:
        self._held[index] = record
        if self._spool is not None and record is not None and index != self._next:
            self._spool.add(record, self._held.values())
        while self._next in self._held:
            self._inner.put(self._next, self._held.pop(self._next))
            self._next += 1

    def flush(self) -> None:
        for index in sorted(self._held):
            self._inner.put(index, self._held.pop(index))
