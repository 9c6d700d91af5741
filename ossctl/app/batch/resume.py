"""Reading an output back: what is finished, what has to be repaired, what was replaced later."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from ossctl.app.batch.records import ID_PREFIX
from ossctl.app.batch.reorder_spool import beside
from ossctl.app.wire.source import id_hash
from ossctl.errors import UsageError
from ossctl.storage.compression import READ_ERRORS, encoder_for, is_compressed, open_decoded
from ossctl.storage.journal import Journal, OutputFile

_START = f'{{"id":"{ID_PREFIX}'.encode()  # how every record begins
_BLOCK_BYTES = 1 << 20


class _Error(msgspec.Struct):
    code: str


class Record(msgspec.Struct):
    """The part of an output's line that tells which request it is for and how that went."""

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


def record_in(line: bytes) -> Record | None:
    """The record on a line; None if it is none of ours."""
    if not line.startswith(_START):
        return None
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class RecordState(Enum):
    """What an output says of a request."""

    MISSING = auto()
    DONE = auto()
    FAILED = auto()
    CHANGED = auto()  # there is an answer, to something else


@dataclass(frozen=True)
class Torn:
    """How a file ends: `n_bytes` of whole lines, then the `rest` of another, or compression broken off."""

    n_bytes: int
    rest: bytes
    broken: bool = False


class Lines:
    """The lines of an output, until one is not whole: then `torn` says what is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = Torn(0, b"")

    def __iter__(self) -> Iterator[bytes]:
        n_bytes = 0
        with open_decoded(self.path) as file:
            while True:
                try:
                    line = file.readline()
                except READ_ERRORS:
                    if not is_compressed(self.path):
                        raise
                    self.torn = Torn(n_bytes, b"", broken=True)
                    return
                if not line.endswith(b"\n"):
                    self.torn = Torn(n_bytes, line)
                    return
                n_bytes += len(line)
                yield line


class Finished:
    """What an output holds, by the hashes of ids: 17 bytes a record.

    `waiting` are lines by their ids that are finished, and not in the output itself yet.
    """

    def __init__(self) -> None:
        self._ids = array("Q")
        self._answers = array("Q")
        self._failed = bytearray()
        self._seen = bytearray()
        self._places: Any = None  # of the sorted ids
        self.waiting: dict[str, bytes] = {}
        self.replaced = 0  # records that a later one of the same id makes void

    @property
    def count(self) -> int:
        return len(self._ids) - self.replaced

    def add(self, record: Record) -> None:
        self._ids.append(id_hash(record.custom_id))
        self._answers.append(_answer_hash(record.id))
        self._failed.append(record.failed)

    def close(self) -> None:
        """All are there: sort them, the last of each id alone."""
        ids = np.frombuffer(self._ids, np.uint64) if self._ids else np.empty(0, np.uint64)
        order = np.argsort(ids, kind="stable")
        last = np.append(ids[order][1:] != ids[order][:-1], True)[: len(ids)]
        self.replaced = len(ids) - int(last.sum())
        self._places = order[last]
        self._sorted = ids[self._places]
        self._seen = bytearray(len(self._places))

    def look_up(self, custom_id: str, record_id: str) -> RecordState:
        """What the output says of a request whose record would have this id."""
        wanted = np.uint64(id_hash(custom_id))
        at = int(self._sorted.searchsorted(wanted))
        if at == len(self._sorted) or self._sorted[at] != wanted:
            return RecordState.MISSING
        self._seen[at] = True
        place = int(self._places[at])
        if self._answers[place] != _answer_hash(record_id):
            return RecordState.CHANGED
        return RecordState.FAILED if self._failed[place] else RecordState.DONE

    def orphaned_failures(self) -> int:
        """Error records of ids that were never looked up: the lines were mended, or are gone."""
        return sum(
            self._failed[int(place)] and not seen
            for place, seen in zip(self._places, self._seen, strict=True)
        )


def read_back(path: Path, *, flat: bool) -> tuple[Finished, Torn]:
    """What the output at `path` holds, and how it ends. Raises UsageError for a file that is no output."""
    finished, lines = Finished(), Lines(path)
    waiting = {record.custom_id: (record, line) for record, line in left_waiting(path)}
    for record, _ in records_of(lines):
        _check_form(record, path, flat=flat)
        finished.add(record)
        left, _ = waiting.get(record.custom_id, (None, b""))
        if left is not None and (left.id, left.failed) == (record.id, record.failed):
            del waiting[record.custom_id]
    rest = lines.torn.rest.rstrip(b"\0")  # after a loss of power some filesystems have zeros there
    if rest[: len(_START)] != _START[: len(rest)] or (lines.torn.rest and not rest and not finished.count):
        raise _foreign(path, finished.count + 1)
    last = record_in(rest)
    if last is not None:
        finished.add(last)
    for record, line in waiting.values():
        _check_form(record, path, flat=flat)
        finished.add(record)
        finished.waiting[record.custom_id] = line.rstrip()
    finished.close()
    return finished, lines.torn


def records_of(lines: Lines) -> Iterator[tuple[Record, bytes]]:
    """Every record and its line. Raises UsageError for a file that is no output or can't be read."""
    try:
        for number, line in enumerate(lines, 1):
            record = record_in(line)
            if record is None:
                raise _foreign(lines.path, number)
            yield record, line
    except OSError as error:
        raise UsageError(f"cannot read {lines.path}: {error.strerror or error}") from None


def left_waiting(output: Path) -> Iterator[tuple[Record, bytes]]:
    """What finished records wait beside an output, if any. Raises as `records_of`."""
    path = beside(output)
    if path.exists():
        yield from records_of(Lines(path))


def _check_form(record: Record, path: Path, *, flat: bool) -> None:
    if record.is_flat is not flat:
        form = "flat" if record.is_flat else "OpenAI's"
        hint = "Give --flat." if record.is_flat else "Leave --flat away."
        raise UsageError(f"the records in {path} are {form}", hint)


def _foreign(path: Path, number: int) -> UsageError:
    return UsageError(
        f"{path} is not the output of a batch: line {number} is no record of one",
        "Give another -o; --overwrite would replace it.",
    )


def continue_at(output: OutputFile, torn: Torn) -> Journal:
    """The journal that goes on with an output after its last whole line. Raises OssctlError."""
    rest = torn.rest.rstrip(b"\0")
    whole = rest if record_in(rest) is not None else b""  # only its newline is missing
    if not is_compressed(output.path):
        if torn.rest:
            output.truncate(torn.n_bytes + len(whole), b"\n" if whole else b"")
        return output.journal()
    encoder = encoder_for(output.path)  # goes on with what it has begun

    def write(file: BinaryIO) -> None:
        block = bytearray()
        for line in Lines(output.path):
            block += line
            if len(block) > _BLOCK_BYTES:
                file.write(encoder.encode(bytes(block)))
                block.clear()
        if whole:
            block += whole + b"\n"
        if block:
            file.write(encoder.encode(bytes(block)))

    if output.path.stat().st_size:
        output.replace(write)
    return output.journal(encoder)


def _answer_hash(record_id: str) -> int:
    """8 bytes of a record's id."""
    digits = record_id.removeprefix(ID_PREFIX)[:16]
    try:
        return int(digits, 16)
    except ValueError:
        return 0
