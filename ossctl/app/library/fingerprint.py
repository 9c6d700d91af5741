"""Telling models apart without reading gigabytes."""

from hashlib import blake2b
from pathlib import Path

_PIECE = 64 * 1024  # bytes; the first one holds a model's name, sizes and types
_PIECES = 32  # over the whole file: what was trained further differs everywhere


def fingerprint_of(parts: list[Path]) -> bytes:
    """16 bytes that differ for models that differ: of their sizes and of pieces of their files.

    Raises OSError.
    """
    state = blake2b(digest_size=16)
    for part in parts:
        size = part.stat().st_size
        state.update(size.to_bytes(8))
        with part.open("rb") as file:
            for number in range(_PIECES):
                file.seek(max(0, size - _PIECE) * number // (_PIECES - 1))
                state.update(file.read(_PIECE))
    return state.digest()
