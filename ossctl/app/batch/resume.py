"""Reads an output back for `--resume`: which requests are finished, and how to repair a torn end."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from ossctl.app.batch.held_records import held_path
from ossctl.app.batch.records import ID_PREFIX
from ossctl.app.wire.source import id_hash
from ossctl.errors import UsageError
from ossctl.storage.compression import (
    READ_ERRORS,
    encode_in_blocks,
    encoder_for,
    is_compressed,
    open_decoded,
)
from ossctl.storage.journal import Journal, OutputFile

_START = f'{{"id":"{ID_PREFIX}'.encode()  # how every record starts


class _Error(msgspec.Struct):
    code: str


class Record(msgspec.Struct):
    """The fields of a record, OpenAI's or flat, that say which request it answers and whether that failed."""

    id: str
    custom_id: str
    error: _Error | None = None
    response: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_flat(self) -> bool:
        return self.response is msgspec.UNSET

    @property
    def failed(self) -> bool:
        return self.error is not None


_decoder = msgspec.json.Decoder(Record)


def decode_record(line: bytes) -> Record | None:
    """Decode a line of an output; None if it is not a complete record of ours."""
    if not line.startswith(_START):
        return None
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class RecordState(Enum):
    """What an output has for a request."""

    MISSING = auto()
    DONE = auto()
    FAILED = auto()
    CHANGED = auto()  # a record of the same id, but for another request or model


@dataclass(frozen=True)
class Tail:
    """The end of an output, after `n_bytes` of complete lines (decompressed).

    `partial` is the start of another line. `corrupt` means that no more could be decompressed.
    """

    n_bytes: int
    partial: bytes = b""
    corrupt: bool = False

    @property
    def is_torn(self) -> bool:
        return bool(self.partial) or self.corrupt

    @property
    def text(self) -> bytes:
        """`partial` without the zeros that some filesystems leave after a power loss."""
        return self.partial.rstrip(b"\0")

    @property
    def record(self) -> Record | None:
        """The last record, if only its newline is missing."""
        return decode_record(self.text)


class OutputLines:
    """Iterates over the complete lines of an output; then `tail` is what follows them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tail = Tail(0)

    def __iter__(self) -> Iterator[bytes]:
        n_bytes = 0
        with open_decoded(self.path) as file:
            while True:
                try:
                    line = file.readline()
                except READ_ERRORS:
                    if not is_compressed(self.path):
                        raise
                    self.tail = Tail(n_bytes, corrupt=True)
                    return
                if not line.endswith(b"\n"):
                    self.tail = Tail(n_bytes, line)
                    return
                n_bytes += len(line)
                yield line


class FinishedRequests:
    """The last record of each id, as hashes: 18 bytes per id.

    `spooled` are records by id that are finished but not in the output yet. `replaced` counts the records
    that a later one of the same id replaces.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        ids, record_ids, failed = array("Q"), array("Q"), array("b")
        for record in records:
            ids.append(id_hash(record.custom_id))
            record_ids.append(_record_hash(record.id))
            failed.append(record.failed)
        last = last_of_each(np.asarray(ids))
        self._ids = np.asarray(ids)[last]
        self._record_ids = np.asarray(record_ids)[last]
        self._failed = np.asarray(failed, np.bool_)[last]
        self._looked_up = np.zeros(len(last), np.bool_)
        self.count = len(last)
        self.replaced = len(ids) - len(last)
        self.spooled: dict[str, bytes] = {}

    def look_up(self, custom_id: str, record_id: str) -> RecordState:
        """The state of the request `custom_id`, whose record would have the id `record_id`."""
        wanted = np.uint64(id_hash(custom_id))
        index = int(self._ids.searchsorted(wanted))
        if index == self.count or self._ids[index] != wanted:
            return RecordState.MISSING
        self._looked_up[index] = True
        if self._record_ids[index] != _record_hash(record_id):
            return RecordState.CHANGED
        return RecordState.FAILED if self._failed[index] else RecordState.DONE

    def orphaned_failures(self) -> int:
        """Count failures whose ids were never looked up: their lines were corrected or removed."""
        return int(np.count_nonzero(self._failed & ~self._looked_up))


def last_of_each(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """The index of the last occurrence of each id, in the order of the ids."""
    order = np.argsort(ids, kind="stable")
    is_last = np.ones(len(ids), np.bool_)
    is_last[:-1] = ids[order[1:]] != ids[order[:-1]]
    return order[is_last]


def read_back(path: Path, *, flat: bool) -> tuple[FinishedRequests, Tail]:
    """Read the output at `path` and its spool. Raises UsageError unless it is an output of the same form."""
    lines = OutputLines(path)
    spooled = {record.custom_id: (record, line) for record, line in spooled_records(path)}
    finished = FinishedRequests(_finished_records(lines, spooled, flat=flat))
    finished.spooled.update((custom_id, line.rstrip()) for custom_id, (_, line) in spooled.items())
    return finished, lines.tail


def _finished_records(
    lines: OutputLines, spooled: dict[str, tuple[Record, bytes]], *, flat: bool
) -> Iterator[Record]:
    """Yield the records of an output, then those left in `spooled`, from which their copies are removed."""
    count = 0
    for record, _ in read_records(lines):
        count += 1
        _check_form(record, lines.path, flat=flat)
        yield record
        copy, _ = spooled.get(record.custom_id, (None, b""))
        if copy is not None and (copy.id, copy.failed) == (record.id, record.failed):
            del spooled[record.custom_id]
    tail = lines.tail
    starts_record = tail.text[: len(_START)] == _START[: len(tail.text)]
    if not starts_record or (tail.partial and not tail.text and not count):
        raise _not_an_output(lines.path, count + 1)
    if tail.record is not None:
        yield tail.record
    for record, _ in spooled.values():
        _check_form(record, lines.path, flat=flat)
        yield record


def read_records(lines: OutputLines) -> Iterator[tuple[Record, bytes]]:
    """Yield every record and its line. Raises UsageError if the file is not an output or can't be read."""
    try:
        for number, line in enumerate(lines, 1):
            record = decode_record(line)
            if record is None:
                raise _not_an_output(lines.path, number)
            yield record, line
    except OSError as error:
        raise UsageError(f"cannot read {lines.path}: {error.strerror or error}") from None


def spooled_records(output: Path) -> Iterator[tuple[Record, bytes]]:
    """Yield the records in the spool of an output, if it has one. Raises as `read_records` does."""
    path = held_path(output)
    if path.exists():
        yield from read_records(OutputLines(path))


def _check_form(record: Record, path: Path, *, flat: bool) -> None:
    if record.is_flat is not flat:
        form, hint = ("flat", "Add --flat.") if record.is_flat else ("OpenAI's", "Remove --flat.")
        raise UsageError(f"the records in {path} are {form}", hint)


def _not_an_output(path: Path, number: int) -> UsageError:
    return UsageError(
        f"{path} is not the output of a batch: line {number} is not a record",
        "Choose another -o, or replace the file with --overwrite.",
    )


def resume_journal(output: OutputFile, tail: Tail) -> Journal:
    """Repair the torn end of an output and return a journal that continues it. Raises OssctlError.

    A compressed output is rewritten, because an encoder cannot continue the stream of another.
    """
    kept = tail.text if tail.record else b""
    if not is_compressed(output.path):
        if tail.partial:
            output.truncate(tail.n_bytes + len(kept), b"\n" if kept else b"")
        return output.journal()
    encoder = encoder_for(output.path)

    def write(file: BinaryIO) -> None:
        lines = chain(OutputLines(output.path), [kept + b"\n"] if kept else [])
        file.writelines(encode_in_blocks(lines, encoder))

    if output.path.stat().st_size:
        output.replace(write)
    return output.journal(encoder)


def _record_hash(record_id: str) -> int:
    """The first 8 bytes of the hash in a record's id."""
    try:
        return int(record_id.removeprefix(ID_PREFIX)[:16], 16)
    except ValueError:
        return 0
