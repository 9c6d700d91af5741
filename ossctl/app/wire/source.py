"""The input of a batch: JSON lines, a table or text, in a file that may be compressed, or on stdin."""

import contextlib
import csv
import random
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from ossctl.app.wire.lines import MAX_LINE_BYTES, Line, check_is_text, read_lines, skip_rest, too_long
from ossctl.app.wire.shard import Shard
from ossctl.app.wire.sizes import Sizes
from ossctl.errors import RequestError, UsageError
from ossctl.storage.compression import READ_ERRORS, describe_read_error, is_compressed, open_decoded

_T = TypeVar("_T")
_BYTE_ORDER_MARK = "\ufeff"


class Format(StrEnum):
    """The format of an input."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    TEXT = "text"


_EXPECTED = {
    Format.JSONL: "one JSON object per line",
    Format.CSV: "rows below the header",
    Format.TSV: "rows below the header",
    Format.TEXT: "one prompt per line",
}


def format_of(path: Path) -> Format:
    """The format for the suffix of `path`, which may be followed by .gz or .zst; JSON lines by default."""
    name = path.with_suffix("") if is_compressed(path) else path
    kinds = {".csv": Format.CSV, ".tsv": Format.TSV, ".txt": Format.TEXT}
    return kinds.get(name.suffix.lower(), Format.JSONL)


def given_format(path: Path, given: Sequence[Format]) -> Format:
    """The format that the options give, or that of the name. Raises UsageError if they give several."""
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]} cannot be combined")
    return given[0] if given else format_of(path)


@dataclass(frozen=True)
class Source:
    """An input, stdin if `path` is None. A table must have the column `required_column`, if that is given.

    `limit` selects the first N requests, `sample` a random N of these, the same ones for the same `seed`,
    and `shard` a share of what is left.
    """

    path: Path | None
    format: Format = Format.JSONL
    required_column: str = ""
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    shard: Shard | None = None

    @property
    def name(self) -> str:
        return "standard input" if self.path is None else str(self.path)

    @property
    def takes_all(self) -> bool:
        """Whether all requests of the input are selected."""
        return self.limit is None and self.sample is None and self.shard is None

    @property
    def is_rereadable(self) -> bool:
        """Whether the input is not a pipe or a device, which can be read only once."""
        if self.path is None:
            return False
        with contextlib.suppress(OSError):
            return self.path.is_file() or self.path.is_dir() or not self.path.exists()
        return True

    def lines(self) -> Iterator[Line]:
        """Yield the non-blank lines, up to `limit`. Raises UsageError, and READ_ERRORS while reading."""
        with self._open() as file:
            check_is_text(file, self.name)
            yield from islice(self._lines(file), self.limit)

    def shard_lines(self) -> Iterator[Line]:
        """Yield the lines, those of the shard. Raises UsageError if the input cannot be read to its end."""
        with _read_errors_as_usage_errors(self.name):
            yield from self._of_shard(self.lines())

    def selected(self, survey: "Survey | None") -> Iterator[Line]:
        """Yield the lines to answer, of all lines that the survey saw.

        Raises as `lines` does, and UsageError if there are none or they are one JSON document.
        """
        if survey is None:
            yield from self._of_shard(self._requests())
            return
        indices = iter(range(survey.count) if survey.selected is None else survey.selected)
        wanted = next(indices, None)
        for index, line in enumerate(self.lines()):
            if index == wanted:
                yield line
                wanted = next(indices, None)
            if wanted is None:
                return

    def survey(self, id_of: Callable[[Line], str]) -> "Survey":
        """Read the input once to count the requests, estimate their sizes and check that ids are unique.

        Raises UsageError if the input cannot be read, is empty or has a duplicate id.
        """
        ids, sizes = array("Q"), Sizes()
        n_bytes = self._size()
        with _read_errors_as_usage_errors(self.name):
            for line in self._requests():
                ids.append(id_hash(id_of(line)))
                sizes.add(line)
            self._refuse_duplicates(ids, id_of)
        selected = self._selection(len(ids))
        if selected is not None:
            ids = array("Q", (ids[index] for index in selected))
        return Survey(ids, selected, n_bytes, sizes)

    def _selection(self, count: int) -> "array[int] | None":
        """The indices of the lines to answer, in order; None for all `count` lines."""
        indices: Sequence[int] = range(count)
        if self.sample is not None and self.sample < count:
            indices = sorted(random.Random(self.seed).sample(indices, self.sample))  # noqa: S311
        elif self.shard is None:
            return None
        return array("Q", self._of_shard(indices))

    def _of_shard(self, items: Iterable[_T]) -> Iterator[_T]:
        return iter(items) if self.shard is None else self.shard.of(items)

    def _requests(self) -> Iterator[Line]:
        """Yield `checked_lines`. Raises UsageError if there are none."""
        line = None
        for line in self.checked_lines():
            yield line
        if line is None:
            raise UsageError(f"{self.name} contains no requests", f"Expected {_EXPECTED[self.format]}.")

    def checked_lines(self) -> Iterator[Line]:
        """Yield `lines`. Raises UsageError if the first one shows that they are one JSON document."""
        for index, line in enumerate(self.lines()):
            if index == 0 and self.format is Format.JSONL and (kind := _kind_of_document(line.data)):
                values = ".[]" if kind == "array" else "."
                hint = f"Make lines of it: jq -c '{values}' {self.path or 'FILE'} > lines.jsonl"
                raise UsageError(f"{self.name} is a JSON {kind}, not one JSON object per line", hint)
            yield line

    def has_grown(self, survey: "Survey") -> bool:
        """Whether the file is longer than when it was surveyed."""
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
        except OSError as error:
            if path.is_dir():  # Windows only denies permission
                hint = "Give a file of JSON lines, or - for stdin."
                raise UsageError(f"{path} is a directory", hint) from None
            raise UsageError(f"cannot read {path}: {error.strerror}") from None

    def _lines(self, file: BinaryIO) -> Iterator[Line]:
        match self.format:
            case Format.JSONL:
                return read_lines(file)
            case Format.TEXT:
                return map(_as_text, read_lines(file))
            case Format.CSV:
                return _read_table(file, ",", self.name, self.required_column)
            case Format.TSV:
                return _read_table(file, "\t", self.name, self.required_column)

    def _refuse_duplicates(self, ids: "array[int]", id_of: Callable[[Line], str]) -> None:
        ordered = np.sort(np.asarray(ids))
        repeated = {int(value) for value in ordered[1:][ordered[1:] == ordered[:-1]]}
        first: dict[str, int] = {}
        for line in self.lines() if repeated else ():
            custom_id = id_of(line)
            if id_hash(custom_id) not in repeated:
                continue
            if custom_id in first:
                raise UsageError(
                    f"lines {first[custom_id]} and {line.number} have the same id {custom_id[:80]!r}",
                    "Use --assign-ids to make line numbers the ids.",
                )
            first[custom_id] = line.number


@dataclass(frozen=True)
class Survey:
    """The result of `Source.survey`: `ids` are hashes of the ids of the requests to answer, in input order.

    For a sample or a shard, `selected` are the indices of its lines in the input. `n_bytes` is the size of
    the file.
    """

    ids: "array[int]"
    selected: "array[int] | None"
    n_bytes: int
    sizes: Sizes

    @property
    def count(self) -> int:
        return len(self.ids)


@contextlib.contextmanager
def _read_errors_as_usage_errors(name: str) -> Iterator[None]:
    try:
        yield
    except READ_ERRORS as error:
        raise UsageError(f"cannot read {name}: {describe_read_error(error)}") from None


def id_hash(custom_id: str) -> int:
    """A 64-bit hash of an id, so that a million ids take 8 MB."""
    return int.from_bytes(blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _kind_of_document(first_line: bytes) -> str:
    """ "array" or "object" for the first line of a whole JSON document, "" for a line of JSON lines."""
    if first_line == b"{":
        return "object"
    return "array" if re.match(rb"\[\s*(\{|$)", first_line) else ""


def _as_text(line: Line) -> Line:
    if line.error is not None:
        return line
    try:
        return Line(line.number, fields={"text": line.data.decode("utf-8")})
    except UnicodeDecodeError:
        return Line(line.number, error=RequestError("not UTF-8 text"))


def _read_table(file: BinaryIO, delimiter: str, name: str, required: str) -> Iterator[Line]:
    """Yield the rows of a table, by the columns of its header. Raises UsageError if that is not valid."""
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
            yield Line(number, error=RequestError(f"invalid row: {texts.problem}"))
        elif not any(cell.strip() for cell in row):
            continue
        elif not header:
            header = _checked_header(row, name, required)
        elif len(row) != len(header):
            problem = f"{len(row)} columns, but the header has {len(header)}"
            yield Line(number, error=RequestError(f"invalid row: {problem}"))
        else:
            yield Line(number, fields=dict(zip(header, row, strict=True)))


def _checked_header(row: list[str], name: str, required: str) -> list[str]:
    header = [cell.strip() for cell in row]
    if len(set(header)) < len(header):
        raise UsageError(f"{name}: the header has two columns of the same name")
    if required and required not in header:
        columns = ", ".join(header[:8])
        raise UsageError(
            f"{name} has no column {required}", f"Use --prompt to build prompts from its columns: {columns}."
        )
    return header


class _TableLines:
    """Feeds lines to the csv module in bounded memory; `problem` says what is wrong with the latest one."""

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
