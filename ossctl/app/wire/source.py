"""Where a batch's requests come from: JSON lines, tables or text, plain or compressed, a file or stdin."""

import contextlib
import csv
import random
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ossctl.app.wire.lines import MAX_LINE_BYTES, Line, read_lines, skip_rest, too_long
from ossctl.app.wire.sizes import Sizes
from ossctl.errors import RequestError, UsageError
from ossctl.storage.compression import READ_ERRORS, describe_read_error, is_compressed, open_decoded

_BYTE_ORDER_MARK = "\ufeff"


class Format(StrEnum):
    """What a line of the input is."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    TEXT = "text"


def format_of(path: Path) -> Format:
    """What the name of a file says; JSON lines if it says nothing."""
    name = path.with_suffix("") if is_compressed(path) else path
    kinds = {".csv": Format.CSV, ".tsv": Format.TSV, ".txt": Format.TEXT}
    return kinds.get(name.suffix.lower(), Format.JSONL)


@dataclass(frozen=True)
class Source:
    """An input; `path` None is stdin. `limit` takes the first so many requests, `sample` so many of those.

    `required` is a column that a table has to have.
    """

    path: Path | None
    format: Format = Format.JSONL
    required: str = ""
    limit: int | None = None
    sample: int | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        return "standard input" if self.path is None else str(self.path)

    @property
    def can_be_read_twice(self) -> bool:
        """Not a pipe or a device, where what is read is gone."""
        if self.path is None:
            return False
        with contextlib.suppress(OSError):
            return self.path.is_file() or self.path.is_dir() or not self.path.exists()
        return True

    def lines(self) -> Iterator[Line]:
        """Every line that is not blank. Raises UsageError; while reading, any of READ_ERRORS."""
        with self._open() as file:
            yield from islice(self._lines(file), self.limit)

    def picked(self, survey: "Survey | None") -> Iterator[Line]:
        """The lines to answer: those that were there when the survey was made, or of these the sample."""
        if survey is None:
            yield from self.lines()
            return
        places = range(survey.count) if survey.picked is None else survey.picked
        wanted = iter(places)
        next_place = next(wanted, None)
        for place, line in enumerate(self.lines()):
            if place == next_place:
                yield line
                next_place = next(wanted, None)
            if next_place is None:
                return

    def survey(self, id_of: Callable[[Line], str]) -> "Survey":
        """Count the requests and compare their ids, before any is answered.

        Raises UsageError for an input that can't be read, has no requests, or has two of one id.
        """
        ids, sizes = array("Q"), Sizes()
        n_bytes = self._size()
        try:
            for line in self.lines():
                ids.append(id_hash(id_of(line)))
                sizes.add(line)
            self._refuse_duplicates(ids, id_of)
        except READ_ERRORS as error:
            raise UsageError(f"cannot read {self.name}: {describe_read_error(error)}") from None
        if not ids:
            raise UsageError(f"{self.name} holds no requests", "It needs a JSON object a line.")
        picked = None
        if self.sample is not None and self.sample < len(ids):
            chosen = random.Random(self.seed).sample(range(len(ids)), self.sample)  # noqa: S311
            picked = array("Q", sorted(chosen))
            ids = array("Q", (ids[place] for place in picked))
        return Survey(ids, picked, n_bytes, sizes)

    def has_grown(self, survey: "Survey") -> bool:
        """Whether the file is longer than it was then."""
        return self._size() > survey.n_bytes

    def _size(self) -> int:
        try:
            return 0 if self.path is None else self.path.stat().st_size
        except OSError:
            return 0

    def _open(self) -> BinaryIO:
        path = self.path
        if path is None:
            return open(0, "rb", closefd=False)
        try:
            return open_decoded(path)
        except FileNotFoundError:
            raise UsageError(f"no input file at {path}") from None
        except IsADirectoryError:
            raise UsageError(f"{path} is a directory", "Give a file of JSON lines, or - for stdin.") from None
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None

    def _lines(self, file: BinaryIO) -> Iterator[Line]:
        match self.format:
            case Format.JSONL:
                return read_lines(file)
            case Format.TEXT:
                return map(_as_text, read_lines(file))
            case Format.CSV:
                return _read_table(file, ",", self.name, self.required)
            case Format.TSV:
                return _read_table(file, "\t", self.name, self.required)

    def _refuse_duplicates(self, ids: "array[int]", id_of: Callable[[Line], str]) -> None:
        ordered = np.sort(np.frombuffer(ids, np.uint64)) if ids else np.empty(0, np.uint64)
        again = {int(value) for value in ordered[1:][ordered[1:] == ordered[:-1]]}
        first: dict[str, int] = {}
        for line in self.lines() if again else ():
            custom_id = id_of(line)
            if id_hash(custom_id) not in again:
                continue
            if custom_id in first:
                raise UsageError(
                    f"lines {first[custom_id]} and {line.number} have the same id {custom_id[:80]!r}",
                    "--assign-ids gives every line its number as an id.",
                )
            first[custom_id] = line.number


@dataclass(frozen=True)
class Survey:
    """What an input was found to hold: 8-byte hashes of the ids to answer, in order.

    `picked` are their places among all lines, None if these are all. `n_bytes` is how long the file was.
    """

    ids: "array[int]"
    picked: "array[int] | None"
    n_bytes: int
    sizes: Sizes

    @property
    def count(self) -> int:
        return len(self.ids)


def id_hash(custom_id: str) -> int:
    """8 bytes in place of an id, so that a million take 8 MB."""
    return int.from_bytes(blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _as_text(line: Line) -> Line:
    if line.error is not None:
        return line
    try:
        return Line(line.number, fields={"text": line.data.decode("utf-8")})
    except UnicodeDecodeError:
        return Line(line.number, error=RequestError("not UTF-8 text"))


def _read_table(file: BinaryIO, delimiter: str, name: str, required: str) -> Iterator[Line]:
    """The rows of a table whose first row names the columns. Raises UsageError for a header of no use."""
    csv.field_size_limit(MAX_LINE_BYTES)
    texts = _TableLines(file)
    rows = csv.reader(texts, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        number = texts.number + 1
        texts.problem = ""
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            texts.problem, row = texts.problem or str(error), []
        if texts.problem:
            if not header:
                raise UsageError(f"{name}: the header is not valid: {texts.problem}")
            yield Line(number, error=RequestError(f"not a row of the table: {texts.problem}"))
        elif not any(cell.strip() for cell in row):
            continue
        elif not header:
            header = _checked_header(row, name, required)
        elif len(row) != len(header):
            problem = f"{len(row)} columns, the header has {len(header)}"
            yield Line(number, error=RequestError(f"not a row of the table: {problem}"))
        else:
            yield Line(number, fields=dict(zip(header, row, strict=True)))


def _checked_header(row: list[str], name: str, required: str) -> list[str]:
    header = [cell.strip() for cell in row]
    if len(set(header)) < len(header):
        raise UsageError(f"{name}: two columns of its header have one name")
    if required and required not in header:
        columns = ", ".join(header[:8])
        raise UsageError(
            f"{name} has no column {required}", f"Say with --prompt how to make a prompt of: {columns}."
        )
    return header


class _TableLines:
    """Lines for the csv module, in bounded memory; `problem` is what is wrong with the latest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.number = 0
        self.problem = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        data = self._file.readline(MAX_LINE_BYTES + 1)
        if not data:
            raise StopIteration
        self.number += 1
        if len(data) > MAX_LINE_BYTES and not data.endswith(b"\n"):
            self.problem = too_long(len(data) + skip_rest(self._file))
            return "\n"
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            self.problem = "not UTF-8"
            return "\n"
        return text.removeprefix(_BYTE_ORDER_MARK) if self.number == 1 else text
