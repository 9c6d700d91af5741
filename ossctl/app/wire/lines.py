"""Reads lines in bounded memory."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, BinaryIO, cast

from ossctl.errors import RequestError, UsageError

MAX_LINE_BYTES = 16 * 1024 * 1024  # far beyond any context: 131,072 tokens of English are some 0.6 MB

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SKIP_BYTES = 1024 * 1024
_RENAME = "Decompress it, or give the file a name that ends in "
_NOT_TEXT = {  # by the first bytes, as regular expressions, which match no text
    b"\x1f\x8b": ("compressed by gzip", f"{_RENAME}.gz."),
    rb"\x28\xb5\x2f\xfd": ("compressed by Zstandard", f"{_RENAME}.zst."),
    b"BZh[1-9]1AY&SY": ("compressed by bzip2", "Decompress it: only .gz and .zst are read as they are."),
    b"\xfd7zXZ": ("compressed by xz", "Decompress it: only .gz and .zst are read as they are."),
    b"PK\x03\x04": ("a zip archive", "Unpack it: only .gz and .zst are read as they are."),
    b"\xff\xfe": ("in UTF-16", "Convert it: iconv -f UTF-16 -t UTF-8 FILE"),
    b"\xfe\xff": ("in UTF-16", "Convert it: iconv -f UTF-16 -t UTF-8 FILE"),
}


@dataclass(frozen=True)
class Line:
    """A non-blank line of the input; `number` counts from 1.

    A line of JSON has `data`, a row of a table or a line of text has `fields`. One that cannot be read has
    neither, but an `error`.
    """

    number: int
    data: bytes = b""
    error: RequestError | None = None
    fields: dict[str, Any] | None = None


def check_is_text(file: BinaryIO, name: str) -> None:
    """Raise UsageError if the first bytes of `file`, which stay in it, are not those of a text in UTF-8."""
    first = cast("BufferedReader", file).peek(10)
    for mark, (what, hint) in _NOT_TEXT.items():
        if re.match(mark, first):
            raise UsageError(f"{name} is {what}", hint)


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """Yield the non-blank lines of `file`. A line that is too long is skipped, and has an `error`."""
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
    return f"{n_bytes:,} bytes, more than the limit of {MAX_LINE_BYTES:,} for a line"


def skip_rest(file: BinaryIO) -> int:
    """Skip to the end of the line; return the bytes skipped, without the line ending."""
    skipped = 0
    while data := file.readline(_SKIP_BYTES):
        skipped += len(data.rstrip(b"\r\n"))
        if data.endswith(b"\n"):
            break
    return skipped


def raw_content(line: Line) -> bytes:
    """The content of a line as bytes, whether or not it is a valid request."""
    return line.data or repr(line.fields or (line.error.message if line.error else "")).encode()
