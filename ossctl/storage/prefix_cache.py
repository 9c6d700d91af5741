"""A cache of computed prefixes on disk, so that another process need not compute them again.

Each entry is a file with the state of a sequence and the tokens that it holds. An SQLite index finds the
entry with the longest common prefix. What is damaged, gone or in use is a miss, and what cannot be written is
left out.
"""

import contextlib
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ossctl.storage.prefix_file import ComputedPrefix, Tokens, read_prefix, read_start, write_prefix

BLOCK = 64  # tokens; shorter prefixes are not stored

_log = logging.getLogger(__name__)

_INDEX = "index.db"
_SUFFIX = ".prefix"
_OWNER_ONLY = 0o600
_OWNER_ONLY_FOLDER = 0o700
_BUSY_SECONDS = 0.5  # how long another process may lock the index; after that it is a miss
_HASH_BYTES = 8
_MAX_TRIED = 8  # entries of one length whose tokens are compared
_ORPHAN_SECONDS = 3600  # age from which a file without an entry is deleted

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE, model TEXT NOT NULL, owner TEXT NOT NULL,
    n_tokens INTEGER NOT NULL, n_bytes INTEGER NOT NULL, created REAL NOT NULL, used REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS blocks (
    hash BLOB NOT NULL, entry INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
    PRIMARY KEY (hash, entry)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blocks_of_entry ON blocks (entry);
"""


@dataclass(frozen=True)
class Found:
    """An entry that holds the first `n_tokens` tokens of a prompt in a usable form."""

    entry: int
    path: Path
    n_tokens: int


@dataclass(frozen=True)
class CacheEntry:
    """An entry, for `ossctl cache`. `created` and `used` are seconds since the epoch."""

    model: str
    owner: str
    n_tokens: int
    n_bytes: int
    created: float
    used: float


class PrefixCache:
    """The entries in `folder`, up to `max_bytes`. One thread uses an instance; processes may share a folder.

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
        if not hashes or not (self._folder / _INDEX).exists():
            return None
        with _misses("read"), self._index(write=False) as index:
            for length in range(len(hashes), 0, -1):
                rows = index.execute(
                    "SELECT id, file FROM blocks JOIN entries ON id = entry WHERE hash = ? "
                    "ORDER BY used DESC LIMIT ?",
                    (hashes[length - 1], _MAX_TRIED),
                )
                found = [self._compared(entry, name, prompt) for entry, name in rows]
                best = max(filter(None, found), key=lambda each: each.n_tokens, default=None)
                if best is not None:
                    return best
        return None

    def load(self, found: Found) -> ComputedPrefix | None:
        """Read an entry; None if it is damaged or gone. A damaged one is deleted."""
        with _misses("read"):
            prefix = read_prefix(found.path, self._key)
            if prefix is None:
                _log.warning("deleted a damaged entry of the prefix cache: %s", found.path.name)
                found.path.unlink(missing_ok=True)
                with self._index() as index:
                    index.execute("DELETE FROM entries WHERE id = ?", (found.entry,))
                return None
            with self._index() as index:
                index.execute("UPDATE entries SET used = ? WHERE id = ?", (time.time(), found.entry))
            return prefix
        return None

    def save(self, prefix: ComputedPrefix, owner: str = "") -> bool:
        """Write an entry. It replaces those of the same `owner`. Returns False if it cannot be written."""
        points = _points(prefix)
        if not points:
            return False
        with _misses("write"):
            self._folder.mkdir(mode=_OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
            size = prefix.tokens.nbytes + len(prefix.state) + sum(map(len, prefix.snapshots.values()))
            self._sweep()
            if not self._make_space(size):
                return False
            name = f"{secrets.token_hex(12)}{_SUFFIX}"
            write_prefix(self._folder / name, self._key, prefix)
            self._add(name, prefix, points, size, owner)
            return True
        return False

    def _add(self, name: str, prefix: ComputedPrefix, points: Sequence[int], size: int, owner: str) -> None:
        now = time.time()
        hashes = list(_hashes(self._key, prefix.tokens))
        with self._index() as index:
            replaced = index.execute(
                "SELECT id, file FROM entries WHERE owner = ? AND owner != '' AND model = ?",
                (owner, self._model),
            ).fetchall()
            cursor = index.execute(
                "INSERT INTO entries (file, model, owner, n_tokens, n_bytes, created, used) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (name, self._model, owner, len(prefix.tokens), size, now, now),
            )
            index.executemany(
                "INSERT OR IGNORE INTO blocks VALUES (?, ?)",
                [(hashes[point - 1], cursor.lastrowid) for point in points],
            )
            index.executemany("DELETE FROM entries WHERE id = ?", [(entry,) for entry, _ in replaced])
        for _, file in replaced:
            _delete(self._folder / file)

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

    def _make_space(self, size: int) -> bool:
        """Delete entries, least recently used first, until `size` bytes fit; False if they never will."""
        if size > self._max_bytes:
            return False
        with self._index() as index:
            (total,) = index.execute("SELECT coalesce(sum(n_bytes), 0) FROM entries").fetchone()
            for entry, name, n_bytes in index.execute(
                "SELECT id, file, n_bytes FROM entries ORDER BY used"
            ).fetchall():
                if total + size <= self._max_bytes:
                    break
                _delete(self._folder / name)
                index.execute("DELETE FROM entries WHERE id = ?", (entry,))
                total -= n_bytes
        return True

    def _sweep(self) -> None:
        """Delete files that no entry names: a process ended while it wrote them."""
        with self._index() as index:
            names = {name for (name,) in index.execute("SELECT file FROM entries")}
        oldest = time.time() - _ORPHAN_SECONDS
        with os.scandir(self._folder) as files:
            for file in files:
                ours = file.name.endswith((_SUFFIX, f"{_SUFFIX}.part"))
                if ours and file.name not in names and file.stat().st_mtime < oldest:
                    _delete(Path(file.path))

    def _index(self, *, write: bool = True) -> "contextlib.AbstractContextManager[sqlite3.Connection]":
        return _open_index(self._folder, write=write)


def entries(folder: Path) -> list[CacheEntry]:
    """All entries of the cache in `folder`, most recently used first; none if it cannot be read."""
    if not (folder / _INDEX).exists():
        return []
    with _misses("read"), _open_index(folder, write=False) as index:
        rows = index.execute(
            "SELECT model, owner, n_tokens, n_bytes, created, used FROM entries ORDER BY used DESC"
        )
        return [CacheEntry(*row) for row in rows]
    return []


def clear(folder: Path, *, model: str | None = None, owner: str | None = None) -> int:
    """Delete the entries of a model or an owner, or all of them; return how many bytes that frees.

    Raises OSError and sqlite3.Error.
    """
    if not (folder / _INDEX).exists():
        return 0
    freed = 0
    with _open_index(folder) as index:
        rows = index.execute(
            "SELECT id, file, n_bytes FROM entries "
            "WHERE model = coalesce(?, model) AND owner = coalesce(?, owner)",
            (model, owner),
        ).fetchall()
        for entry, name, n_bytes in rows:
            (folder / name).unlink(missing_ok=True)
            index.execute("DELETE FROM entries WHERE id = ?", (entry,))
            freed += n_bytes
    return freed


@contextmanager
def _open_index(folder: Path, *, write: bool = True) -> Iterator[sqlite3.Connection]:
    """The index as one transaction. A damaged one is deleted. Raises OSError and sqlite3.Error."""
    path = folder / _INDEX
    path.touch(_OWNER_ONLY)
    index = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        index.execute("PRAGMA synchronous = OFF")  # the files are checked, and the index may be lost
        index.execute("PRAGMA foreign_keys = ON")
        index.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        for statement in _SCHEMA.split(";"):
            index.execute(statement)
        yield index
        index.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        if not isinstance(error, sqlite3.OperationalError):
            index.close()
            _delete(path)
        raise
    finally:
        index.close()


def _hashes(key: bytes, tokens: Tokens) -> Iterator[bytes]:
    """A hash of the first BLOCK tokens, one of the first 2 * BLOCK and so on."""
    state = blake2b(key, digest_size=_HASH_BYTES)
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        state.update(np.ascontiguousarray(tokens[end - BLOCK : end], "<i4").tobytes())
        yield state.digest()


def _points(prefix: ComputedPrefix) -> list[int]:
    """How many blocks each prefix has that the state can be rolled back to."""
    if prefix.any_length:
        return list(range(1, len(prefix.tokens) // BLOCK + 1))
    lengths = {*prefix.snapshots, len(prefix.tokens)}
    return sorted({length // BLOCK for length in lengths if length >= BLOCK})


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):  # another program reads it on Windows, or it is gone
        path.unlink()


@contextmanager
def _misses(what: str) -> Iterator[None]:
    """Log what goes wrong instead of raising it."""
    try:
        yield
    except (OSError, sqlite3.Error, ValueError) as error:
        _log.info("cannot %s the prefix cache: %s", what, error)
