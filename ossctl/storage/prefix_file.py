"""The file of a computed prefix: its key, its tokens, the state of the sequence, and a checksum."""

import contextlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from ossctl.storage.atomic import create_file

Tokens = npt.NDArray[np.int32]

_MAGIC = b"ossctl prefix 1\n"
_OWNER_ONLY = 0o600


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


class Header(msgspec.Struct, array_like=True):
    """What precedes the tokens. `key` names everything that the state depends on."""

    key: bytes
    n_tokens: int
    state: int  # bytes
    snapshots: list[tuple[int, int]]  # length and bytes of each
    any_length: bool


def write_prefix(path: Path, key: bytes, prefix: ComputedPrefix) -> None:
    """Write a prefix to a new file, whole or not at all. Raises OSError."""
    header = Header(
        key,
        len(prefix.tokens),
        len(prefix.state),
        [(n, len(data)) for n, data in prefix.snapshots.items()],
        prefix.any_length,
    )
    encoded = msgspec.msgpack.encode(header)
    parts = [
        _MAGIC,
        len(encoded).to_bytes(4, "little"),
        encoded,
        np.ascontiguousarray(prefix.tokens, "<i4").tobytes(),
        *prefix.snapshots.values(),
        prefix.state,
    ]
    part = path.with_name(f"{path.name}.part")
    try:
        with create_file(part, _OWNER_ONLY) as file:
            checksum = 0
            for data in parts:
                checksum = zlib.crc32(data, checksum)
                _write_all(file, data)
            file.write(checksum.to_bytes(4, "little"))
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def read_start(file: BinaryIO, key: bytes) -> tuple[Header, Tokens]:
    """The header and the tokens. Raises ValueError if they are not those of an entry with this key."""
    start = file.read(len(_MAGIC) + 4)
    if not start.startswith(_MAGIC):
        raise ValueError("not an entry")
    header = msgspec.msgpack.decode(file.read(int.from_bytes(start[len(_MAGIC) :], "little")), type=Header)
    tokens = np.frombuffer(file.read(4 * header.n_tokens), "<i4").astype(np.int32)
    if header.key != key or len(tokens) != header.n_tokens:
        raise ValueError("an entry of another model, or cut")
    return header, tokens


def read_prefix(path: Path, key: bytes) -> ComputedPrefix | None:
    """The prefix in a file; None if it is cut or its checksum is wrong. Raises OSError."""
    with path.open("rb") as file:
        data = memoryview(file.read())
    if len(data) < len(_MAGIC) + 8 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        return None
    start = len(_MAGIC) + 4
    end = start + int.from_bytes(data[len(_MAGIC) : start], "little")
    header = msgspec.msgpack.decode(data[start:end], type=Header)
    if header.key != key:
        return None
    parts: list[memoryview] = []
    for size in (4 * header.n_tokens, *(size for _, size in header.snapshots), header.state):
        parts.append(data[end : end + size])
        end += size
    tokens, *snapshots, state = parts
    lengths = [length for length, _ in header.snapshots]
    return ComputedPrefix(
        np.frombuffer(tokens, "<i4").astype(np.int32),
        bytes(state),
        dict(zip(lengths, map(bytes, snapshots), strict=True)),
        header.any_length,
    )
