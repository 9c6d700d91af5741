"""What is known of files beyond their contents: when one was verified, and when a model was used last.

A record holds only as long as the file has the size and the time of change that it had then.
"""

import logging
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
class Verified:
    """A file had this hash, and it was the one that it should have."""

    sha256: str
    at: datetime


class FileRecords:
    """A small database. When it cannot be read nothing is known, and what cannot be written is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def verified(self, file: Path) -> Verified | None:
        """When `file`, as it is now, was verified."""
        row = self._do(
            lambda database: database.execute(
                "SELECT sha256, at FROM verified WHERE path = ? AND n_bytes = ? AND changed_ns = ?",
                (_key(file), *_state(file)),
            ).fetchone()
        )
        return Verified(row[0], datetime.fromisoformat(row[1])) if row else None

    def note_verified(self, file: Path, sha256: str) -> None:
        """`file` has the hash that it should have."""
        self._do(
            lambda database: database.execute(
                "INSERT OR REPLACE INTO verified VALUES (?, ?, ?, ?, ?)",
                (_key(file), *_state(file), sha256, _now()),
            )
        )

    def forget(self, file: Path) -> None:
        """`file` goes, or is not what it should be."""
        self._do(lambda database: database.execute("DELETE FROM verified WHERE path = ?", (_key(file),)))

    def used(self, file: Path) -> datetime | None:
        """When the model whose first file is `file` was loaded last."""
        row = self._do(
            lambda database: database.execute("SELECT at FROM used WHERE path = ?", (_key(file),)).fetchone()
        )
        return datetime.fromisoformat(row[0]) if row else None

    def note_used(self, file: Path) -> None:
        """The model whose first file is `file` is being loaded."""
        self._do(
            lambda database: database.execute(
                "INSERT OR REPLACE INTO used VALUES (?, ?)", (_key(file), _now())
            )
        )

    def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=10)) as database, database:
                database.executescript(_TABLES)
                return work(database)
        except (sqlite3.DatabaseError, OSError) as error:
            _log.warning("cannot use %s: %s", self._path, error)
            return None


def _key(file: Path) -> str:
    return str(file.resolve())


def _state(file: Path) -> tuple[int, int]:
    """(bytes, time of the last change in ns), which tell whether a file is the one that was recorded."""
    state = file.stat()
    return state.st_size, state.st_mtime_ns


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
