"""The file of a computed prefix: its key, its tokens, the state of the sequence, and checksums."""

import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]

_START = struct.Struct("<16sIQI")  # magic, bytes of the header and of the tokens, checksum of both
_MAGIC = b"ossctl prefix 2\n"
_CHECKSUM = struct.Struct("<I")  # of all that precedes it


@dataclass(frozen=True)
class ComputedPrefix:
    """The state of a sequence that holds `tokens`, int32 [n].

    `snapshots` are what a rollback to shorter prefixes needs, by length. If `any_length`, the state can be
    rolled back to any length without them.
    """

    tokens: Tokens
    state: bytes
    snapshots: Mapping[int, bytes]
    any_length: bool

    @property
    def n_bytes(self) -> int:
        """What its file takes, within a few hundred bytes."""
        return self.tokens.nbytes + len(self.state) + sum(map(len, self.snapshots.values()))


class Header(msgspec.Struct, array_like=True):
    """What precedes the tokens. `key` names everything that the state depends on."""

    key: bytes
    state: int  # bytes
    snapshots: list[tuple[int, int]]  # length and bytes of each
    any_length: bool


def write_prefix(file: BinaryIO, key: bytes, prefix: ComputedPrefix) -> None:
    """Write a prefix to an empty, unbuffered file. Raises OSError."""
    snapshots = [(n, len(data)) for n, data in prefix.snapshots.items()]
    header = msgspec.msgpack.encode(Header(key, len(prefix.state), snapshots, prefix.any_length))
    tokens = np.ascontiguousarray(prefix.tokens, "<i4").tobytes()
    start = _START.pack(_MAGIC, len(header), len(tokens), zlib.crc32(tokens, zlib.crc32(header)))
    checksum = 0
    for data in (start, header, tokens, *prefix.snapshots.values(), prefix.state):
        checksum = zlib.crc32(data, checksum)
        _write_all(file, data)
    _write_all(file, _CHECKSUM.pack(checksum))


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def read_start(file: BinaryIO, key: bytes) -> tuple[Header, Tokens]:
    """The header and the tokens.

    Raises ValueError if they are damaged or of another version, another model or other settings, and OSError.
    """
    start = file.read(_START.size)
    if len(start) < _START.size:
        raise ValueError("the file is cut off")
    magic, n_header, n_tokens, checksum = _START.unpack(start)
    if magic != _MAGIC or n_header + n_tokens > os.fstat(file.fileno()).st_size:
        raise ValueError("the file is damaged or of another version")
    header, tokens = file.read(n_header), file.read(n_tokens)
    if zlib.crc32(tokens, zlib.crc32(header)) != checksum:
        raise ValueError("the file is damaged")
    found = msgspec.msgpack.decode(header, type=Header)
    if found.key != key:
        raise ValueError("the file is of another model or of other settings")
    return found, np.frombuffer(tokens, "<i4").astype(np.int32)


def read_prefix(path: Path, key: bytes) -> ComputedPrefix:
    """The prefix in a file. Raises ValueError as `read_start` does, and OSError."""
    with path.open("rb") as file:
        header, tokens = read_start(file, key)
        end = file.tell()
        file.seek(0)
        checksum = zlib.crc32(file.read(end))
        parts = []
        for size in (*(size for _, size in header.snapshots), header.state):
            parts.append(file.read(size))
            checksum = zlib.crc32(parts[-1], checksum)
        if file.read() != _CHECKSUM.pack(checksum):
            raise ValueError("the file is damaged")
    *snapshots, state = parts
    lengths = [length for length, _ in header.snapshots]
    return ComputedPrefix(tokens, state, dict(zip(lengths, snapshots, strict=True)), header.any_length)
