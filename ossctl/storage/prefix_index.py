"""The index of the cache of computed prefixes: an SQLite database beside the files.

A file is entered in the index before it is written, so that all programs together keep the limit, and is
found only when it is complete. Its writer locks it until then: what is incomplete and not locked was left by
a program that was killed.

The index has a rollback journal, since SQLite's write-ahead log does not work on network file systems. It may
be lost at any time.
"""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ossctl.storage.lock import is_locked

SUFFIX = ".prefix"

_log = logging.getLogger(__name__)

_INDEX = "index.db"
_VERSION = 2
_OWNER_ONLY = 0o600
_READ_SECONDS = 0.1  # how long another process may lock the index: an answer waits for this
_WRITE_SECONDS = 1.0
_MAX_FOUND = 8  # entries of one hash

_SCHEMA = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE,
    key BLOB NOT NULL, model TEXT NOT NULL, owner TEXT NOT NULL,
    n_tokens INTEGER NOT NULL, n_bytes INTEGER NOT NULL, created REAL NOT NULL, used REAL NOT NULL,
    complete INTEGER NOT NULL DEFAULT FALSE
);
CREATE TABLE blocks (
    hash BLOB NOT NULL, entry INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
    PRIMARY KEY (hash, entry)
) WITHOUT ROWID;
CREATE INDEX blocks_of_entry ON blocks (entry);
"""


@dataclass(frozen=True)
class CacheEntry:
    """An entry, for `ossctl cache`. `created` and `used` are seconds since the epoch."""

    model: str
    owner: str
    n_tokens: int
    n_bytes: int
    created: float
    used: float


@dataclass(frozen=True)
class Origin:
    """What has computed an entry. `owner` is a conversation, or empty."""

    key: bytes
    model: str
    owner: str = ""


class PrefixIndex:
    """The index in `folder`, in one transaction: see `open_index`. All methods raise sqlite3.Error."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self._folder = folder
        self._connection = connection

    def find(self, digest: bytes) -> list[tuple[int, str]]:
        """The newest entries of a prefix with this hash, and their files."""
        return self._connection.execute(
            "SELECT id, file FROM blocks JOIN entries ON id = entry WHERE hash = ? "
            "ORDER BY entry DESC LIMIT ?",
            (digest, _MAX_FOUND),
        ).fetchall()

    def entries(self) -> list[CacheEntry]:
        """All complete entries, most recently used first."""
        rows = self._connection.execute(
            "SELECT model, owner, n_tokens, n_bytes, created, used FROM entries WHERE complete "
            "ORDER BY used DESC"
        )
        return [CacheEntry(*row) for row in rows]

    def make_space(self, n_bytes: int, max_bytes: int, free_bytes: int) -> bool:
        """Delete entries, least recently used first, until `n_bytes` fit; False if they never will.

        `free_bytes` of the disk are free. The cache leaves as much free as it writes, for other programs.
        """
        (total, complete) = self._connection.execute(
            "SELECT coalesce(sum(n_bytes), 0), coalesce(sum(n_bytes * complete), 0) FROM entries"
        ).fetchone()
        missing = max(total + n_bytes - max_bytes, 2 * n_bytes - free_bytes)
        fits = n_bytes <= max_bytes and missing <= complete
        missing = missing if fits else total - max_bytes
        oldest = self._connection.execute(
            "SELECT id, file, n_bytes FROM entries WHERE complete ORDER BY used"
        ).fetchall()
        for entry, name, freed in oldest:
            if missing <= 0:
                break
            self.delete(entry, name)
            missing -= freed
        return fits

    def reserve(self, name: str, origin: Origin, n_tokens: int, n_bytes: int) -> int:
        """Enter a file that is going to be written."""
        now = time.time()
        cursor = self._connection.execute(
            "INSERT INTO entries (file, key, model, owner, n_tokens, n_bytes, created, used) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (name, origin.key, origin.model, origin.owner, n_tokens, n_bytes, now, now),
        )
        return int(cursor.lastrowid or 0)

    def complete(self, entry: int, digests: Iterable[bytes]) -> bool:
        """Let an entry be found, in place of others of its owner and key; False if it was deleted."""
        changed = self._connection.execute("UPDATE entries SET complete = TRUE WHERE id = ?", (entry,))
        if not changed.rowcount:
            return False
        self._connection.executemany(
            "INSERT OR IGNORE INTO blocks VALUES (?, ?)", [(digest, entry) for digest in digests]
        )
        replaced = self._connection.execute(
            "SELECT old.id, old.file FROM entries AS old JOIN entries AS new USING (owner, key) "
            "WHERE new.id = ? AND owner != '' AND old.complete AND old.id != new.id",
            (entry,),
        ).fetchall()
        for other, name in replaced:
            self.delete(other, name)
        return True

    def touch(self, entry: int) -> None:
        """Make an entry the most recently used one."""
        self._connection.execute("UPDATE entries SET used = ? WHERE id = ?", (time.time(), entry))

    def delete(self, entry: int, name: str) -> None:
        delete_file(self._folder / name)
        self._connection.execute("DELETE FROM entries WHERE id = ?", (entry,))

    def chosen(self, model: str | None, owner: str | None) -> list[tuple[int, str, int]]:
        """The entries of a model and an owner, or of all: id, file and bytes."""
        return self._connection.execute(
            "SELECT id, file, n_bytes FROM entries "
            "WHERE model = coalesce(?, model) AND owner = coalesce(?, owner)",
            (model, owner),
        ).fetchall()

    def delete_leftovers(self) -> None:
        """Delete files without an entry and entries without a file, unless they are being written."""
        rows = self._connection.execute("SELECT file, id, complete FROM entries")
        entered = {name: (entry, complete) for name, entry, complete in rows}
        with os.scandir(self._folder) as found:
            files = {file.name for file in found if file.name.endswith(SUFFIX)}
        for name in files:
            entry, complete = entered.get(name, (0, False))
            if not complete and not _is_locked(self._folder / name):
                self.delete(entry, name)
        for name in entered.keys() - files:
            self.delete(entered[name][0], name)


@contextmanager
def open_index(folder: Path, *, write: bool = True) -> Iterator[PrefixIndex]:
    """The index as one transaction. A damaged one is replaced. Raises OSError and sqlite3.Error."""
    try:
        connection = _begin(folder, write=write)
    except sqlite3.DatabaseError as error:
        if not _discard_damaged(folder, error) or not write:
            raise
        connection = _begin(folder, write=write)
    with closing(connection):
        try:
            yield PrefixIndex(folder, connection)
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            connection.close()
            _discard_damaged(folder, error)
            raise


def _begin(folder: Path, *, write: bool) -> sqlite3.Connection:
    """Open the index, which exists if it is not to be written, and begin a transaction."""
    path = folder / _INDEX
    if write:
        path.touch(_OWNER_ONLY)
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",  # or read-only, where it cannot be written
        timeout=_WRITE_SECONDS if write else _READ_SECONDS,
        isolation_level=None,
        uri=True,
    )
    try:
        connection.execute("PRAGMA synchronous = OFF")  # the files are checked, and the index may be lost
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        _check_version(connection, create=write)
    except BaseException:
        connection.close()
        raise
    return connection


def _discard_damaged(folder: Path, error: sqlite3.DatabaseError) -> bool:
    """Delete the index if that is what `error` is about; what it knew is lost."""
    if isinstance(error, sqlite3.OperationalError):  # locked, read-only, or the disk is full
        return False
    _log.info("the index of the prefix cache is replaced: %s", error)
    for name in (_INDEX, f"{_INDEX}-journal"):
        delete_file(folder / name)
    return True


def has_index(folder: Path) -> bool:
    """Whether anything was ever cached in `folder`."""
    return (folder / _INDEX).exists()


def delete_file(path: Path) -> None:
    with contextlib.suppress(OSError):  # another program reads it on Windows, or it is gone
        path.unlink()


def _check_version(connection: sqlite3.Connection, *, create: bool) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == _VERSION:
        return
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
        raise sqlite3.DatabaseError("it is of another version")
    if not create:
        raise sqlite3.OperationalError("the index is empty")
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {_VERSION}")


def _is_locked(path: Path) -> bool:
    try:
        return is_locked(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
