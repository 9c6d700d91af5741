"""Reading a batch's input line by line, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ossctl.errors import RequestError

MAX_LINE_BYTES = 16 * 1024 * 1024  # far beyond any context: 131,072 tokens of English are some 0.6 MB

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SKIP_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Line:
    """A line of the input that is not blank; `number` counts from 1.

    `data` is JSON, unless the line is a row of a table or plain text: then `fields` has what it says. `error`
    tells why it has neither.
    """

    number: int
    data: bytes = b""
    error: RequestError | None = None
    fields: dict[str, Any] | None = None


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of `file`. One that is too long is skipped without being held in memory."""
    number = 0
    while data := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(data) > MAX_LINE_BYTES and not data.endswith(b"\n"):
            n_bytes = len(data) + skip_rest(file)
            yield Line(number, error=RequestError(too_long(n_bytes)))
            continue
        if number == 1:
            data = data.removeprefix(_BYTE_ORDER_MARK)
        if data := data.strip():
            yield Line(number, data)


def too_long(n_bytes: int) -> str:
    """What is wrong with a line of so many bytes."""
    return f"{n_bytes:,} bytes are more than the {MAX_LINE_BYTES:,} that a line may have"


def skip_rest(file: BinaryIO) -> int:
    """Read on to the end of the line; return how many bytes that was, without its ending."""
    skipped = 0
    while data := file.readline(_SKIP_BYTES):
        skipped += len(data.rstrip(b"\r\n"))
        if data.endswith(b"\n"):
            break
    return skipped


def asked_by(line: Line) -> bytes:
    """What stands for the request of a line that is not understood."""
    return line.data or repr(line.fields or (line.error.message if line.error else "")).encode()
