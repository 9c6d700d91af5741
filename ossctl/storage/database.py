"""The SQLite database of saved conversations: connection, migrations and error messages."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from ossctl.errors import UsageError

_BUSY_SECONDS = 10.0  # how long to wait for another process's transaction
_RETRY_SECONDS = 0.01
_OWNER_ONLY = 0o600


class DatabaseUnusable(UsageError):
    """The database cannot be read or written."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database at `path`, creating it if necessary. Raises DatabaseUnusable."""
    with sqlite_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(_OWNER_ONLY)
        except OSError as error:
            raise DatabaseUnusable(f"cannot write {path}: {error.strerror}") from None
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            _enable_wal(connection)
            _prepare(connection, str(path))
        except BaseException:
            connection.close()
            raise
        return connection


def _enable_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, so that readers and the writer do not block each other.

    SQLite's busy timeout does not cover this pragma: of several processes that run it on a new database at
    once, all but one fail immediately.
    """
    deadline = monotonic() + _BUSY_SECONDS
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
    """Open a database that lasts as long as its connection."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    _prepare(connection, "memory")
    return connection


@contextmanager
def sqlite_errors(name: object) -> Iterator[None]:
    """Raise SQLite's errors as DatabaseUnusable; `name` is for the message."""
    try:
        yield
    except (sqlite3.NotSupportedError, sqlite3.OperationalError) as error:
        raise DatabaseUnusable(f"cannot use {name}: {error}") from None
    except sqlite3.DatabaseError as error:
        hint = "Move it away to start a new one; `sqlite3 FILE .recover` may recover its contents."
        raise DatabaseUnusable(f"{name} is damaged: {error}", hint) from None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as a transaction, with the write lock from its start."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection, name: str) -> None:
    connection.text_factory = _decode
    connection.execute("PRAGMA synchronous = NORMAL")  # with WAL, only a power loss can lose a commit
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
    if _version(connection) == len(MIGRATIONS):
        return
    with transaction(connection):  # another process may have been first
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise DatabaseUnusable(
                f"{name} was written by a newer ossctl (format {version}, supported: {len(MIGRATIONS)})",
                "Update ossctl.",
            )
        for migrate in MIGRATIONS[version:]:
            migrate(connection)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _decode(text: bytes) -> str:
    """Decode a text of the database, which another program may have written."""
    return text.decode("utf-8", "replace")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _sessions_and_messages(connection: sqlite3.Connection) -> None:
    """Create the tables. Messages form a tree: a retry or an edit starts a branch, and `head` is the last
    message of the current one.
    """
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
    """Rename columns to what they are called in the code."""
    connection.execute("ALTER TABLE sessions RENAME COLUMN head TO tip")
    connection.execute("ALTER TABLE messages RENAME COLUMN kept TO token_ids")


def _kinds(connection: sqlite3.Connection) -> None:
    """Tell logged runs from chats, which all sessions have been so far."""
    connection.execute("ALTER TABLE sessions ADD COLUMN kind TEXT NOT NULL DEFAULT 'chat'")


# Append-only: a database's user_version is the number of migrations that it has had.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _sessions_and_messages,
    _tip_and_token_ids,
    _kinds,
)
