"""A cache of computed prefixes on disk, so that another process need not compute them again.

Each entry is a file with the state of a sequence and the tokens that it holds. An index finds the entry with
the longest common prefix. What is damaged, gone or in use is a miss, and what cannot be written is left out.
"""

import logging
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ossctl.storage.atomic import create_file
from ossctl.storage.lock import try_lock
from ossctl.storage.prefix_file import ComputedPrefix, Tokens, read_prefix, read_start, write_prefix
from ossctl.storage.prefix_index import SUFFIX, CacheEntry, Origin, delete_file, has_index, open_index

BLOCK = 64  # tokens; shorter prefixes are not stored

_log = logging.getLogger(__name__)

_OWNER_ONLY = 0o600
_OWNER_ONLY_FOLDER = 0o700
_HASH_BYTES = 8


@dataclass(frozen=True)
class Found:
    """An entry that holds the first `n_tokens` tokens of a prompt in a usable form."""

    entry: int
    path: Path
    n_tokens: int


class PrefixCache:
    """The entries in `folder`, up to `max_bytes`, which several threads and processes may share.

    `key` names everything that a state depends on; entries with another key are never found.
    """

    def __init__(self, folder: Path, key: bytes, model: str, max_bytes: int) -> None:
        self._folder = folder
        self._key = key
        self._model = model
        self._max_bytes = max_bytes

    def find(self, prompt: Tokens) -> Found | None:
        """The entry that holds most of `prompt`; None if there is none, or the index cannot be read."""
        hashes = list(_hashes(self._key, prompt))
        with _misses("read"):
            if hashes and has_index(self._folder):
                return self._find(prompt, hashes)
        return None

    def _find(self, prompt: Tokens, hashes: Sequence[bytes]) -> Found | None:
        with open_index(self._folder, write=False) as index:
            for digest in reversed(hashes):
                found = [self._compared(entry, name, prompt) for entry, name in index.find(digest)]
                best = max(filter(None, found), key=lambda each: each.n_tokens, default=None)
                if best is not None:
                    return best
        return None

    def load(self, found: Found) -> ComputedPrefix | None:
        """Read an entry; None if it is damaged or gone. A damaged file is deleted."""
        with _misses("read"):
            try:
                return read_prefix(found.path, self._key)
            except ValueError:
                delete_file(found.path)
                raise
        return None

    def shrink(self) -> None:
        """Delete entries, least recently used first, until the limit holds, which may have been larger."""
        with _misses("write"):
            if has_index(self._folder):
                with open_index(self._folder) as index:
                    index.make_space(0, self._max_bytes, shutil.disk_usage(self._folder).free)

    def touch(self, found: Found) -> None:
        """Make an entry the most recently used one."""
        with _misses("write"), open_index(self._folder) as index:
            index.touch(found.entry)

    def save(self, prefix: ComputedPrefix, owner: str = "") -> bool:
        """Write an entry. It replaces those of the same `owner`. Returns False if it cannot be written."""
        if len(prefix.tokens) < BLOCK:
            return False
        saved = False
        path = self._folder / f"{secrets.token_hex(12)}{SUFFIX}"
        with _misses("write"):
            self._folder.mkdir(mode=_OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
            try:
                saved = self._write(path, prefix, owner)
            finally:
                if not saved:
                    delete_file(path)
        return saved

    def _write(self, path: Path, prefix: ComputedPrefix, owner: str) -> bool:
        origin = Origin(self._key, self._model, owner)
        with create_file(path, _OWNER_ONLY) as file:
            if not try_lock(file):  # until it is complete
                return False
            with open_index(self._folder) as index:
                index.delete_leftovers()
                free = shutil.disk_usage(self._folder).free
                if not index.make_space(prefix.n_bytes, self._max_bytes, free):
                    return False
                entry = index.reserve(path.name, origin, len(prefix.tokens), prefix.n_bytes)
            write_prefix(file, self._key, prefix)
            with open_index(self._folder) as index:
                return index.complete(entry, self._usable_hashes(prefix))

    def _usable_hashes(self, prefix: ComputedPrefix) -> list[bytes]:
        """The hashes of the prefixes that the state can be rolled back to, in whole blocks."""
        hashes = list(_hashes(self._key, prefix.tokens))
        if prefix.any_length:
            return hashes
        lengths = {*prefix.snapshots, len(prefix.tokens)}
        return [hashes[length // BLOCK - 1] for length in lengths if length >= BLOCK]

    def _compared(self, entry: int, name: str, prompt: Tokens) -> Found | None:
        path = self._folder / name
        try:
            with path.open("rb") as file:
                header, tokens = read_start(file, self._key)
        except (OSError, ValueError):
            return None
        n = min(len(tokens), len(prompt))
        different = np.flatnonzero(tokens[:n] != prompt[:n])
        common = int(different[0]) if len(different) else n
        if not header.any_length and common < len(tokens):
            common = max((length for length, _ in header.snapshots if length <= common), default=0)
        return Found(entry, path, common) if common >= BLOCK else None


def entries(folder: Path) -> list[CacheEntry]:
    """All entries of the cache in `folder`, most recently used first; none if it cannot be read."""
    with _misses("read"):
        if has_index(folder):
            with open_index(folder, write=False) as index:
                return index.entries()
    return []


def clear(folder: Path, *, model: str | None = None, owner: str | None = None) -> int:
    """Delete the entries of a model or an owner, or all of them; return how many bytes that frees.

    Files that a killed program left are deleted as well. Raises OSError and sqlite3.Error.
    """
    if not folder.is_dir():
        return 0
    with open_index(folder) as index:
        index.delete_leftovers()
        chosen = index.chosen(model, owner)
        for entry, name, _ in chosen:
            (folder / name).unlink(missing_ok=True)
            index.delete(entry, name)
    return sum(n_bytes for _, _, n_bytes in chosen)


def _hashes(key: bytes, tokens: Tokens) -> Iterator[bytes]:
    """A hash of the first BLOCK tokens, one of the first 2 * BLOCK and so on."""
    state = blake2b(key, digest_size=_HASH_BYTES)
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        state.update(np.ascontiguousarray(tokens[end - BLOCK : end], "<i4").tobytes())
        yield state.digest()


@contextmanager
def _misses(what: str) -> Iterator[None]:
    """Log what goes wrong instead of raising it."""
    try:
        yield
    except (OSError, sqlite3.Error, ValueError, MemoryError) as error:
        _log.info("cannot %s the prefix cache: %s", what, error)
