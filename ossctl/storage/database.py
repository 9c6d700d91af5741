"""The database of sessions: opened, brought up to date, and its failures as errors for users."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from ossctl.errors import UsageError

_WAIT_SECONDS = 10.0  # for another process that is writing
_RETRY_SECONDS = 0.01
_OWNER_ONLY = 0o600


class DatabaseUnusable(UsageError):
    """The database cannot be read or written."""


def open_database(path: Path) -> sqlite3.Connection:
    """The database at `path`, made if there is none. Raises DatabaseUnusable."""
    with failures(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(_OWNER_ONLY)
        except OSError as error:
            raise DatabaseUnusable(f"cannot write {path}: {error.strerror}") from None
        connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
        try:
            _write_ahead(connection)
            _prepare(connection, str(path))
        except BaseException:
            connection.close()
            raise
        return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Readers and a writer do not wait for each other from here on.

    Of several that say so to a new database at once, SQLite turns away all but one, without a wait.
    """
    deadline = monotonic() + _WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            sleep(_RETRY_SECONDS)
        else:
            return


def open_in_memory() -> sqlite3.Connection:
    """A database that ends with the process."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    _prepare(connection, "memory")
    return connection


@contextmanager
def failures(name: object) -> Iterator[None]:
    """SQLite's errors as DatabaseUnusable; `name` is for the message."""
    try:
        yield
    except (sqlite3.NotSupportedError, sqlite3.OperationalError) as error:
        raise DatabaseUnusable(f"cannot use {name}: {error}") from None
    except sqlite3.DatabaseError as error:
        hint = "Move it away to begin a new one; `sqlite3 FILE .recover` may save what it holds."
        raise DatabaseUnusable(f"{name} is damaged: {error}", hint) from None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing; nothing else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")  # a crash of this process loses nothing
    connection.execute("PRAGMA foreign_keys = ON")
    if _version(connection) == len(MIGRATIONS):
        return
    with transaction(connection):  # whoever comes second finds it done
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise DatabaseUnusable(
                f"{name} was written by a newer ossctl: format {version}, this one knows {len(MIGRATIONS)}",
                "Update ossctl.",
            )
        for migrate in MIGRATIONS[version:]:
            migrate(connection)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _sessions_and_messages(connection: sqlite3.Connection) -> None:
    """Messages are a tree: an answer that is tried again, or a message that is edited, begins a branch, and
    a session's head is the last message of the branch that goes on."""
    connection.execute(
        """CREATE TABLE sessions (
            id TEXT PRIMARY KEY, title TEXT NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL,
            head INTEGER, origin TEXT, settings TEXT NOT NULL
        )"""
    )
    connection.execute(
        """CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            parent INTEGER, role TEXT NOT NULL, content TEXT NOT NULL, reasoning TEXT NOT NULL,
            calls TEXT NOT NULL, tool TEXT NOT NULL, kept BLOB NOT NULL, covers INTEGER,
            state TEXT NOT NULL, created TEXT NOT NULL, details TEXT NOT NULL
        )"""
    )
    connection.execute("CREATE INDEX messages_of_session ON messages (session)")


def _tip_and_token_ids(connection: sqlite3.Connection) -> None:
    """The names that the code uses."""
    connection.execute("ALTER TABLE sessions RENAME COLUMN head TO tip")
    connection.execute("ALTER TABLE messages RENAME COLUMN kept TO token_ids")


# Append-only: the number of a database is how many of these it has seen.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_sessions_and_messages, _tip_and_token_ids)
