"""Reading a batch's input line by line, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ossctl.errors import RequestError, UsageError

MAX_LINE_BYTES = 16 * 1024 * 1024  # far beyond any context: 131,072 tokens of English are some 0.6 MB

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SKIP_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Line:
    """A line of the input that is not blank; `number` counts from 1, `error` says why it has no data."""

    number: int
    data: bytes
    error: RequestError | None = None


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of `file`. One that is too long is skipped without being held in memory."""
    number = 0
    while data := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(data) > MAX_LINE_BYTES and not data.endswith(b"\n"):
            n_bytes = len(data) + _skip_rest(file)
            message = f"{n_bytes:,} bytes are more than the {MAX_LINE_BYTES:,} that a line may have"
            yield Line(number, b"", RequestError(message))
            continue
        if number == 1:
            data = data.removeprefix(_BYTE_ORDER_MARK)
        if data := data.strip():
            yield Line(number, data)


def open_input(path: Path) -> BinaryIO:
    """Open a batch's input. Raises UsageError."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise UsageError(f"no input file at {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a directory", "Give a file of JSON lines, or - for stdin.") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def count_requests(path: Path) -> int:
    """Lines that are not blank. Raises UsageError if the file cannot be read or has none."""
    with open_input(path) as file:
        count = sum(1 for _ in read_lines(file))
    if not count:
        raise UsageError(f"{path} holds no requests", "It needs a JSON object a line.")
    return count


def _skip_rest(file: BinaryIO) -> int:
    skipped = 0
    while data := file.readline(_SKIP_BYTES):
        skipped += len(data.rstrip(b"\r\n"))
        if data.endswith(b"\n"):
            break
    return skipped
