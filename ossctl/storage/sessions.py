"""Chats and logged runs in SQLite. Both are sessions: trees of messages, with a tip."""

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from ossctl.errors import UsageError
from ossctl.storage.database import (
    DatabaseUnusable,
    open_database,
    open_in_memory,
    sqlite_errors,
    transaction,
)
from ossctl.storage.message_index import MessageIndex

State = Literal["partial", "whole", "stopped"]
Kind = Literal["chat", "run"]

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # no characters that look alike
_ID_LENGTH = 6
_EXCERPT = 200  # characters of the latest message
_FIELDS = "role, content, reasoning, calls, tool, token_ids, covers, state, created, details"


@dataclass(frozen=True)
class StoredMessage:
    """A row of the messages table. `calls` and `details` are JSON, `token_ids` int32.

    Role `cut` marks a cut in the context: the model sees `content`, a summary, instead of all messages up to
    and including `covers`. A `partial` answer is being generated, or was when its process died.
    """

    role: str
    content: str
    reasoning: str = ""
    calls: str = "[]"
    tool: str = ""
    token_ids: bytes = b""
    covers: int | None = None
    state: State = "whole"
    created: str = ""
    details: str = "{}"
    id: int = 0


@dataclass(frozen=True)
class StoredSession:
    """A session without its messages. `messages` is their number, `settings` is JSON.

    `ending` is the start of the latest message on the current branch.
    """

    id: str
    title: str
    created: datetime
    updated: datetime
    origin: str | None  # id of the session that it was forked from
    settings: str
    messages: int
    kind: Kind = "chat"
    ending: str = ""


@dataclass(frozen=True)
class SearchHit:
    """A message that contains all words of a search; `excerpt` shows matches in brackets."""

    session: StoredSession
    role: str
    excerpt: str
    created: str


@dataclass(frozen=True)
class Fork:
    """A copy of a session, and the ids of its messages by those of the original."""

    id: str
    ids: Mapping[int, int]


class TipMoved(Exception):
    """Another process has continued the session."""


class Sessions:
    """The sessions of one database. SQLite's errors are raised as DatabaseUnusable."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._index = MessageIndex(connection)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the database at `path`, creating it if necessary. Raises DatabaseUnusable."""
        with sqlite_errors(path):
            return cls(open_database(path), str(path))

    @classmethod
    def in_memory(cls) -> Self:
        """Open a database that is lost with the process."""
        return cls(open_in_memory(), "memory")

    def close(self) -> None:
        """Close the connection, which merges the write-ahead log into the database file."""
        self._connection.close()

    def create(self, title: str, settings: str, origin: str | None = None, kind: Kind = "chat") -> str:
        """Create a session and return its id."""
        with self.transaction():
            while True:
                session = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in os.urandom(_ID_LENGTH))
                taken = self._connection.execute("SELECT 1 FROM sessions WHERE id = ?", (session,))
                if taken.fetchone() is None:
                    break
            self._connection.execute(
                "INSERT INTO sessions (id, title, created, updated, origin, settings, kind) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (session, title, _now(), _now(), origin, settings, kind),
            )
        return session

    def add(self, session: str, parent: int | None, message: StoredMessage, tip: int | None) -> int:
        """Add `message` after `parent`, make it the session's tip and return its id.

        Raises TipMoved, and changes nothing, if the tip is not `tip`.
        """
        with self.transaction():
            self._check_tip(session, tip)
            return self._insert(session, parent, message)

    def extend(self, session: str, messages: Sequence[StoredMessage], settings: str, tip: int | None) -> None:
        """Add `messages` one after the other, and store the settings. Raises TipMoved as `add` does."""
        with self.transaction():
            self._check_tip(session, tip)
            for message in messages:
                tip = self._insert(session, tip, message)
            self.set_settings(session, settings)

    def update(self, message_id: int, message: StoredMessage) -> None:
        """Replace the contents and the state of an answer."""
        with self.transaction():
            self._connection.execute(
                "UPDATE messages SET content = ?, reasoning = ?, calls = ?, token_ids = ?, state = ?, "
                "details = ? WHERE id = ?",
                (
                    message.content, message.reasoning, message.calls, message.token_ids, message.state,
                    message.details, message_id,
                ),
            )  # fmt: skip

    def move_tip(self, session: str, message_id: int | None, tip: int | None) -> None:
        """Continue the session after `message_id`, or from its start if that is None. Raises TipMoved."""
        with self.transaction():
            self._check_tip(session, tip)
            self._set_tip(session, message_id)

    def set_kind(self, session: str, kind: Kind) -> None:
        """Make a session one of another kind."""
        with self.transaction():
            self._connection.execute("UPDATE sessions SET kind = ? WHERE id = ?", (kind, session))

    def set_settings(self, session: str, settings: str) -> None:
        """Store the settings of a session."""
        with self.transaction():
            self._connection.execute("UPDATE sessions SET settings = ? WHERE id = ?", (settings, session))

    def fork(
        self, session: str, settings: str, tip: int | None, kept: Collection[int] | None = None
    ) -> "Fork":
        """Copy the branch up to `tip` into a new session, or all messages `kept`, among them that branch."""
        origin = self.find(session)
        with self.transaction():
            wanted = {message.id for message in self._branch(tip)} if kept is None else set(kept)
            copy = self.create(origin.title, settings, session, origin.kind)
            rows = self._connection.execute(
                f"SELECT parent, {_FIELDS}, id FROM messages WHERE session = ? ORDER BY id",  # noqa: S608
                (session,),
            )
            copied: dict[int | None, int | None] = {None: None}
            for parent, *fields in rows.fetchall():
                message = StoredMessage(*fields)
                if message.id in wanted:
                    moved = replace(message, covers=copied[message.covers])
                    copied[message.id] = self._insert(copy, copied[parent], moved)
            self._set_tip(copy, copied[tip])
        return Fork(copy, {old: new for old, new in copied.items() if old is not None and new is not None})

    def messages(self, session: str) -> list[StoredMessage]:
        """Return the current branch, from the first message to the tip."""
        with sqlite_errors(self._name):
            row = self._connection.execute("SELECT tip FROM sessions WHERE id = ?", (session,)).fetchone()
            return self._branch(row[0]) if row else []

    def _branch(self, tip: int | None) -> list[StoredMessage]:
        rows = self._connection.execute(
            f"""WITH RECURSIVE branch (id, depth) AS (
                SELECT ?, 0
                UNION ALL
                SELECT parent, depth + 1 FROM branch JOIN messages USING (id) WHERE parent IS NOT NULL
            ) SELECT {_FIELDS}, id FROM branch JOIN messages USING (id) ORDER BY depth DESC""",  # noqa: S608
            (tip,),
        ).fetchall()
        return [StoredMessage(*row) for row in rows]

    def count_answers(self, session: str) -> int:
        """Count the answers on all branches of the session."""
        with sqlite_errors(self._name):
            query = "SELECT count(*) FROM messages WHERE session = ? AND role = 'assistant'"
            (count,) = self._connection.execute(query, (session,)).fetchone()
        return int(count)

    def recent(self, limit: int | None = None, kind: Kind | None = None) -> list[StoredSession]:
        """Return the sessions, or those of a kind, the latest first."""
        which = "WHERE kind = coalesce(?, kind) ORDER BY updated DESC, rowid DESC LIMIT ?"
        return self._sessions(which, kind, -1 if limit is None else limit)

    def find(self, reference: str, kind: Kind | None = None) -> StoredSession:
        """Find the session, or the one of a kind, whose id starts with `reference`.

        Raises UsageError for none or several.
        """
        noun, start = kind or "session", reference.strip().lower()
        which = "WHERE substr(id, 1, length(?)) = ? ORDER BY updated DESC"
        found = self._sessions(which, start, start) if start else []
        fitting = [session for session in found if kind in (None, session.kind)]
        if not fitting:
            hint = "`ossctl sessions list` shows chats, `ossctl log` runs."
            if found:
                hint = f"{found[0].id} is a {found[0].kind}. {hint}"
            raise UsageError(f"there is no {noun} {reference}", hint)
        if len(fitting) > 1:
            ids = ", ".join(session.id for session in fitting[:5])
            raise UsageError(f"{reference} matches several {noun}s: {ids}")
        return fitting[0]

    def find_all(self, references: Iterable[str], kind: Kind | None = None) -> list[StoredSession]:
        """Find several sessions, each once. Raises UsageError as `find` does."""
        found = (self.find(reference, kind) for reference in references)
        return [*{session.id: session for session in found}.values()]

    def search(self, text: str, limit: int = 50, kind: Kind | None = None) -> list[SearchHit]:
        """Find messages with all words of `text`, the latest first. Raises UsageError if it is blank."""
        words = text.split()
        if not words:
            raise UsageError("the text to search for is empty")
        with sqlite_errors(self._name):
            rows = self._index.search(words, limit, kind)
        known = {session.id: session for session in self.recent()}
        return [SearchHit(known[session], role, excerpt, at) for session, role, excerpt, at in rows]

    def delete(self, *sessions: str) -> None:
        """Delete sessions and their messages, so that no file of the database holds their text any more.

        If another process reads the database meanwhile, its write-ahead log may hold some until that ends.
        """
        with self.transaction():
            for session in sessions:
                self._index.remove(session)
                self._connection.execute("DELETE FROM sessions WHERE id = ?", (session,))
            self._index.purge()
        with sqlite_errors(self._name):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _insert(self, session: str, parent: int | None, message: StoredMessage) -> int:
        cursor = self._connection.execute(
            f"INSERT INTO messages (session, parent, {_FIELDS}) VALUES ({', '.join('?' * 12)})",  # noqa: S608
            (
                session, parent, message.role, message.content, message.reasoning, message.calls,
                message.tool, message.token_ids, message.covers, message.state, message.created or _now(),
                message.details,
            ),
        )  # fmt: skip
        self._set_tip(session, cursor.lastrowid)
        return int(cursor.lastrowid or 0)

    def _check_tip(self, session: str, expected: int | None) -> None:
        found = self._connection.execute("SELECT tip FROM sessions WHERE id = ?", (session,)).fetchone()
        if found is None:
            raise DatabaseUnusable(f"session {session} was deleted")
        if found[0] != expected:
            raise TipMoved

    def _set_tip(self, session: str, message_id: int | None) -> None:
        self._connection.execute(
            "UPDATE sessions SET tip = ?, updated = ? WHERE id = ?", (message_id, _now(), session)
        )

    def _sessions(self, which: str, *values: object) -> list[StoredSession]:
        with sqlite_errors(self._name):
            rows = self._connection.execute(
                "SELECT id, title, created, updated, origin, settings, "  # noqa: S608 (no user input)
                "(SELECT count(*) FROM messages WHERE session = sessions.id), kind, "
                "coalesce((SELECT substr(content, 1, ?) FROM messages WHERE id = tip), '') "
                f"FROM sessions {which}",
                (_EXCERPT, *values),
            ).fetchall()
        return [
            StoredSession(i, title, datetime.fromisoformat(created), datetime.fromisoformat(updated), *others)
            for i, title, created, updated, *others in rows
        ]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make one change of several, which all count or none. Raises DatabaseUnusable."""
        with sqlite_errors(self._name):
            if self._connection.in_transaction:
                yield
                return
            with transaction(self._connection):
                yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
