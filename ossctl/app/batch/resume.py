"""Reads an output back for `--resume`: which requests are finished, and how to repair a torn end."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from ossctl.app.batch.finished import FinishedRequests
from ossctl.app.batch.held_records import held_path
from ossctl.app.batch.written_record import RECORD_START, Record, decode_record
from ossctl.errors import OssctlError, UsageError
from ossctl.storage.compression import (
    READ_ERRORS,
    encode_in_blocks,
    encoder_for,
    is_compressed,
    open_decoded,
)
from ossctl.storage.journal import Journal, OutputFile

_OTHER_OUTPUT = "Choose another -o, or replace the file with --overwrite."


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
    for record, _ in read_records(lines, _OTHER_OUTPUT):
        count += 1
        _check_form(record, lines.path, flat=flat)
        yield record
        copy, _ = spooled.get(record.custom_id, (None, b""))
        if copy is not None and (copy.id, copy.failed) == (record.id, record.failed):
            del spooled[record.custom_id]
    check_tail(lines, count, _OTHER_OUTPUT)
    if lines.tail.record is not None:
        yield lines.tail.record
    for record, _ in spooled.values():
        _check_form(record, lines.path, flat=flat)
        yield record


def check_tail(lines: OutputLines, count: int, hint: str = "") -> None:
    """Raise UsageError unless the text after `count` complete lines can be the start of a record.

    `hint` says what to do then.
    """
    tail = lines.tail
    starts_record = tail.text[: len(RECORD_START)] == RECORD_START[: len(tail.text)]
    if not starts_record or (tail.partial and not tail.text and not count):
        raise _not_an_output(lines.path, count + 1, hint)


def read_records(lines: OutputLines, hint: str = "") -> Iterator[tuple[Record, bytes]]:
    """Yield every record and its line.

    Raises UsageError if the file is not an output, with `hint`, or can't be read.
    """
    try:
        for number, line in enumerate(lines, 1):
            record = decode_record(line)
            if record is None:
                raise _not_an_output(lines.path, number, hint)
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


def _not_an_output(path: Path, number: int, hint: str) -> UsageError:
    return UsageError(f"{path} is not the output of a batch: line {number} is not a record", hint)


def resume_journal(output: OutputFile, tail: Tail) -> Journal:
    """Return a journal that continues an output, and repairs its end if that is torn. Raises OssctlError."""
    if is_compressed(output.path) and output.path.stat().st_size:
        return _RewritingJournal(output, tail)
    if tail.partial:
        kept = tail.text if tail.record else b""
        output.truncate(tail.n_bytes + len(kept), b"\n" if kept else b"")
    return output.journal()


class _RewritingJournal(Journal):
    """Continues a compressed output by rewriting it, because an encoder cannot continue another's stream.

    The file is replaced together with the first line that is appended. Until then it is as complete as it
    was, however the process ends. A torn end is repaired at the latest when the journal is closed.
    """

    def __init__(self, output: OutputFile, tail: Tail) -> None:
        self._output, self._tail = output, tail
        self._stream = encoder_for(output.path)
        self._rewritten = False
        super().__init__(output.open_at_end, str(output.path), policy=output.policy, encoder=self._stream)

    def append(self, line: bytes) -> None:
        if self._rewritten:
            super().append(line)
        else:
            self._rewrite(line + b"\n")

    def close(self) -> None:
        if self._tail.is_torn and not self._rewritten and not self.broken:
            self._rewrite()
        super().close()

    def _rewrite(self, *new: bytes) -> None:
        kept = [self._tail.text + b"\n"] if self._tail.record else []

        def write(file: BinaryIO) -> None:
            lines = chain(OutputLines(self._output.path), kept, new)
            file.writelines(encode_in_blocks(lines, self._stream))

        self._rewritten = True
        self._rescue_if_deleted(self._opened(), self._output.policy)
        try:
            self._output.replace(write)
        except OssctlError:
            self.broken = True
            raise
        self._file = self._output.open_at_end()
