"""Plain, gzip and Zstandard files, told apart by their suffix."""

import gzip
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Raised when a file is unreadable, damaged or truncated; `describe_read_error` explains them.
READ_ERRORS = (OSError, EOFError, zlib.error, zstd.ZstdError)

_BLOCK_BYTES = 1 << 20
_CONTROL = re.compile(rb"\x7f|\xc2[\x80-\x9f]")  # in UTF-8; JSON escapes those below a space itself


class Encoder(Protocol):
    """Encodes data that is appended to a file."""

    def encode(self, data: bytes) -> bytes:
        """Encode `data` and flush, so that it can be decoded even if nothing follows."""

    def finish(self) -> bytes:
        """Return the bytes that end the file."""


class PlainEncoder:
    def encode(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class TerminalEncoder(PlainEncoder):
    """Escapes the control characters that JSON allows in its strings, so that none reaches the terminal."""

    def encode(self, data: bytes) -> bytes:
        return _CONTROL.sub(lambda match: b"\\u00%02x" % match[0][-1], data)


class GzipEncoder:
    """One gzip member. Each flush costs some 5 bytes and part of the compression ratio."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(wbits=31)  # 31: with a gzip header and trailer

    def encode(self, data: bytes) -> bytes:
        return self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._compressor.flush()


class ZstdEncoder:
    """One frame, because some programs read only the first frame of a file."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor()

    def encode(self, data: bytes) -> bytes:
        return self._compressor.compress(data, mode=zstd.ZstdCompressor.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._compressor.flush()


_ENCODERS: dict[str, type[Encoder]] = {".gz": GzipEncoder, ".zst": ZstdEncoder}


def encoder_for(path: Path) -> Encoder:
    """Return a new encoder for the suffix of `path`."""
    return _ENCODERS.get(path.suffix.lower(), PlainEncoder)()


def is_compressed(path: Path) -> bool:
    """Whether the suffix of `path` is that of a compressed file."""
    return path.suffix.lower() in _ENCODERS


def encode_in_blocks(lines: Iterable[bytes], encoder: Encoder) -> Iterator[bytes]:
    """Encode `lines` in blocks of 1 MiB, because each call of `encode` flushes."""
    block = bytearray()
    for line in lines:
        block += line
        if len(block) > _BLOCK_BYTES:
            yield encoder.encode(bytes(block))
            block.clear()
    if block:
        yield encoder.encode(bytes(block))


def open_decoded(path: Path) -> BinaryIO:
    """Open a file to read its decompressed contents. Raises OSError; reading raises READ_ERRORS."""
    if path.suffix.lower() == ".gz":
        return cast("BinaryIO", gzip.open(path))
    if path.suffix.lower() == ".zst":
        return cast("BinaryIO", zstd.open(path))
    return path.open("rb")


def describe_read_error(error: Exception) -> str:
    """The reason of one of READ_ERRORS, for a message to the user."""
    if isinstance(error, EOFError):
        return "the compressed file is truncated"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"the file is damaged or not of the type its name says ({error})"
