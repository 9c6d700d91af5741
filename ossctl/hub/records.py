"""When files were verified and when models were last used."""

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_TABLES = """
CREATE TABLE IF NOT EXISTS verified (
    path TEXT PRIMARY KEY, n_bytes INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS used (path TEXT PRIMARY KEY, at TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Verification:
    """The hash and the time of a successful verification."""

    sha256: str
    at: datetime


class FileRecords:
    """A SQLite database of model files. If it is not usable, lookups find nothing and notes are dropped.

    A verification is valid while the file's size and modification time are unchanged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def verified(self, file: Path) -> Verification | None:
        """The verification of `file` as it is now, if any."""
        row = self._query(
            lambda database: database.execute(
                "SELECT sha256, at FROM verified WHERE path = ? AND n_bytes = ? AND changed_ns = ?",
                (_key(file), *_size_and_mtime(file)),
            ).fetchone()
        )
        return Verification(row[0], datetime.fromisoformat(row[1])) if row else None

    def note_verified(self, file: Path, sha256: str) -> None:
        """Record that `file` has the expected hash, `sha256`."""
        self._query(
            lambda database: database.execute(
                "INSERT OR REPLACE INTO verified VALUES (?, ?, ?, ?, ?)",
                (_key(file), *_size_and_mtime(file), sha256, _now()),
            )
        )

    def forget(self, file: Path) -> None:
        """Drop the verification of `file`."""
        self._query(lambda database: database.execute("DELETE FROM verified WHERE path = ?", (_key(file),)))

    def used(self, file: Path) -> datetime | None:
        """When the model whose first shard is `file` was last loaded."""
        row = self._query(
            lambda database: database.execute("SELECT at FROM used WHERE path = ?", (_key(file),)).fetchone()
        )
        return datetime.fromisoformat(row[0]) if row else None

    def note_used(self, file: Path) -> None:
        """Record that the model whose first shard is `file` is being loaded."""
        self._query(
            lambda database: database.execute(
                "INSERT OR REPLACE INTO used VALUES (?, ?)", (_key(file), _now())
            )
        )

    def _query(self, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=10)) as database, database:
                database.executescript(_TABLES)
                return work(database)
        except (sqlite3.DatabaseError, OSError) as error:
            _log.warning("cannot use %s: %s", self._path, error)
            return None


def _key(file: Path) -> str:
    """The path as text, also if it is not UTF-8."""
    return os.fsencode(file.resolve()).decode("utf-8", "backslashreplace")


def _size_and_mtime(file: Path) -> tuple[int, int]:
    """Bytes, and nanoseconds since the epoch."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
