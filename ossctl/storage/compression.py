"""Files that are plain, gzip or Zstandard, by the end of their name."""

import gzip
import sys
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# What reading a file raises when it is no such file, damaged, or cut; `reason_of` puts it in words.
READ_ERRORS = (OSError, EOFError, zlib.error, zstd.ZstdError)


class Encoder(Protocol):
    """Turns what is appended to a file into the bytes that stand in it."""

    def encode(self, data: bytes) -> bytes:
        """Bytes from which a reader gets `data` at once, whatever comes later."""

    def finish(self) -> bytes:
        """What ends the file."""


class Plain:
    """Bytes as they are."""

    def encode(self, data: bytes) -> bytes:
        """See `Encoder.encode`."""
        return data

    def finish(self) -> bytes:
        """See `Encoder.finish`."""
        return b""


class Gzip:
    """One gzip member, flushed after every piece: that costs some 5 bytes and part of the compression."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(wbits=31)  # 31: with gzip's header and trailer

    def encode(self, data: bytes) -> bytes:
        """See `Encoder.encode`."""
        return self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """See `Encoder.finish`."""
        return self._compressor.flush()


class Zstandard:
    """One frame, flushed likewise. Some programs read no further than the first frame of a file."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor()

    def encode(self, data: bytes) -> bytes:
        """See `Encoder.encode`."""
        return self._compressor.compress(data, mode=zstd.ZstdCompressor.FLUSH_BLOCK)

    def finish(self) -> bytes:
        """See `Encoder.finish`."""
        return self._compressor.flush()


def encoder_for(path: Path) -> Encoder:
    """A new encoder for a file of this name."""
    kinds: dict[str, type[Encoder]] = {".gz": Gzip, ".zst": Zstandard}
    return kinds.get(path.suffix.lower(), Plain)()


def is_compressed(path: Path) -> bool:
    """Whether a file of this name is."""
    return path.suffix.lower() in (".gz", ".zst")


def open_decoded(path: Path) -> BinaryIO:
    """The contents of a file, to be read. Raises OSError; reading raises any of READ_ERRORS."""
    if path.suffix.lower() == ".gz":
        return cast("BinaryIO", gzip.open(path))
    if path.suffix.lower() == ".zst":
        return cast("BinaryIO", zstd.open(path))
    return path.open("rb")


def reason_of(error: Exception) -> str:
    """Why reading failed, for the user."""
    if isinstance(error, EOFError):
        return "the compressed file is cut"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"not a file of its kind, or damaged ({error})"
