"""An index of the records in several outputs, by the hash of their ids and where they are."""

import contextlib
import errno
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from ossctl.app.batch.finished import last_of_each
from ossctl.app.batch.held_records import held_path
from ossctl.app.batch.resume import OutputLines, check_tail, read_records
from ossctl.app.batch.written_record import Record, decode_record
from ossctl.app.wire.source import id_hash
from ossctl.errors import OssctlError, UsageError
from ossctl.storage.compression import is_compressed
from ossctl.storage.lock import try_share

Rows = npt.NDArray[Any]  # one for each record, with the fields of `_FIELDS`

_FIELDS = [
    ("id", "<u8"), ("start", "<u8"), ("length", "<u8"), ("file", "<u4"), ("output", "<u4"), ("model", "<u4"),
    ("failed", "?"),
]  # fmt: skip
_ROW = struct.Struct("<QQQIII?")
_TOO_MANY_HINT = "Raise the limit (ulimit -n), or join groups of outputs first and then the results."
_AT_ONCE = 65_536  # records whose places are turned into Python's numbers


class WrittenOutputs:
    """Outputs that are open and locked, so that no batch continues them, until `close`.

    `rows` has the last record of each id of each output, 37 bytes per record. `models` are the names to which
    its field `model` refers. `absent` outputs do not exist, and `torn` ones end in an incomplete line.
    """

    def __init__(self, paths: Sequence[Path], scratch: Path | None) -> None:
        """Compressed outputs are decompressed into the folder `scratch`. Raises OssctlError."""
        self.models: list[str] = []
        self.absent: list[Path] = []
        self.torn: list[Path] = []
        self._scratch = scratch
        self._files: list[BinaryIO] = []
        self._form: tuple[Path, bool] | None = None
        self._open_files = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            locked = [self._locked(path) for path in paths]  # all of them before any is read
            parts = [self._read(number, *each) for number, each in enumerate(zip(paths, locked, strict=True))]
            self.rows: Rows = np.concatenate(parts)
            undo.pop_all()

    def record_at(self, row: Any) -> bytes:
        """The record of a row, without a newline."""
        return next(self.records(row.reshape(1)))

    def records(self, rows: Rows) -> Iterator[bytes]:
        """Yield the record of each row, without a newline."""
        for first in range(0, len(rows), _AT_ONCE):
            part = rows[first : first + _AT_ONCE]
            places = (part[name].tolist() for name in ("file", "start", "length"))
            for number, start, length in zip(*places, strict=True):
                file = self._files[number]
                file.seek(start)
                yield file.read(length)

    def close(self) -> None:
        """Close and unlock the outputs."""
        self._open_files.close()

    def _read(self, number: int, path: Path, file: BinaryIO | None) -> Rows:
        """The last record of each id of an output, open as `file`, and of its spool."""
        rows = bytearray()
        if file is not None:
            rows += self._rows(number, OutputLines(path), file)
            if held_path(path).exists():
                rows += self._rows(number, OutputLines(held_path(path)), self._opened(held_path(path)))
        found = np.frombuffer(rows, _FIELDS)
        return found[np.sort(last_of_each(found["id"]))] if len(found) else found

    def _rows(self, number: int, lines: OutputLines, file: BinaryIO) -> bytes:
        rows, start = bytearray(), 0
        copy = self._copy() if is_compressed(lines.path) else None
        self._files.append(copy or file)
        for record, line in self._records(lines):
            if copy is not None:
                _write(copy, line, lines.path)
            hashed, model = id_hash(record.custom_id), self._model(record.model)
            place = (start, len(line.rstrip(b"\n")), len(self._files) - 1, number)
            rows += _ROW.pack(hashed, *place, model, record.failed)
            start += len(line)
        return bytes(rows)

    def _records(self, lines: OutputLines) -> Iterator[tuple[Record, bytes]]:
        """Yield every record and its line, also a last one that only lacks its newline."""
        count = 0
        for record, line in read_records(lines):
            count += 1
            self._check_form(lines.path, record)
            yield record, line
        check_tail(lines, count)
        tail = lines.tail
        if tail.record is not None:
            self._check_form(lines.path, tail.record)
            yield tail.record, tail.text
        elif tail.is_torn:
            self.torn.append(lines.path)

    def _check_form(self, path: Path, record: Record) -> None:
        first, is_flat = self._form = self._form or (path, record.is_flat)
        if record.is_flat is not is_flat:
            one, other = ("flat", "OpenAI's") if is_flat else ("OpenAI's", "flat")
            raise UsageError(f"the records in {first} are {one}, those in {path} are {other}")

    def _model(self, name: str) -> int:
        if name not in self.models:
            self.models.append(name)
        return self.models.index(name)

    def _copy(self) -> BinaryIO:
        try:
            return cast("BinaryIO", self._open_files.enter_context(TemporaryFile(dir=self._scratch)))
        except OSError as error:
            raise OssctlError(f"cannot decompress into {self._scratch}: {error.strerror}") from None

    def _locked(self, path: Path) -> BinaryIO | None:
        if not path.exists():
            self.absent.append(path)
            return None
        if not path.is_file():
            raise UsageError(f"{path} is not a file")
        file = self._opened(path)
        if not try_share(file):
            raise UsageError(f"{path} is still being written", "Wait until its batch has finished.")
        return file

    def _opened(self, path: Path) -> BinaryIO:
        try:
            return self._open_files.enter_context(path.open("rb"))
        except OSError as error:
            hint = _TOO_MANY_HINT if error.errno == errno.EMFILE else ""
            raise UsageError(f"cannot read {path}: {error.strerror}", hint) from None


def best(rows: Rows) -> Rows:
    """The row to keep of each id: an answer rather than a failure, and that of the last output."""
    order = np.argsort(~rows["failed"], kind="stable")  # failures first
    kept: Rows = rows[order[last_of_each(rows["id"][order])]]
    return kept


def ids_of(outputs: WrittenOutputs, rows: Iterable[Any]) -> list[str]:
    """The ids of the records of `rows`."""
    records = (decode_record(outputs.record_at(row)) for row in rows)
    return [record.custom_id for record in records if record is not None]


def _write(copy: BinaryIO, line: bytes, path: Path) -> None:
    try:
        copy.write(line)
    except OSError as error:
        raise OssctlError(f"cannot decompress {path}: {error.strerror}") from None
