"""Chat sessions in SQLite. Answers are stored while they are generated, other messages when complete."""

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
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

State = Literal["partial", "whole", "stopped"]

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # no characters that look alike
_ID_LENGTH = 6
_PARTIAL_LIFETIME = timedelta(hours=1)  # an older partial answer was left behind by a process that died
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
    """A session without its messages. `messages` is their number, `settings` is JSON."""

    id: str
    title: str
    created: datetime
    updated: datetime
    origin: str | None  # id of the session that it was forked from
    settings: str
    messages: int


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
        self._has_index = self._create_index()

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

    def create(self, title: str, settings: str, origin: str | None = None) -> str:
        """Create a session and return its id."""
        with self._transaction():
            while True:
                session = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in os.urandom(_ID_LENGTH))
                taken = self._connection.execute("SELECT 1 FROM sessions WHERE id = ?", (session,))
                if taken.fetchone() is None:
                    break
            self._connection.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, NULL, ?, ?)",
                (session, title, _now(), _now(), origin, settings),
            )
        return session

    def add(self, session: str, parent: int | None, message: StoredMessage, tip: int | None) -> int:
        """Add `message` after `parent`, make it the session's tip and return its id.

        Raises TipMoved, and changes nothing, if the tip is not `tip`.
        """
        with self._transaction():
            self._check_tip(session, tip)
            return self._insert(session, parent, message)

    def update(self, message_id: int, message: StoredMessage) -> None:
        """Replace the contents and the state of an answer."""
        with self._transaction():
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
        with self._transaction():
            self._check_tip(session, tip)
            self._set_tip(session, message_id)

    def set_settings(self, session: str, settings: str) -> None:
        """Store the settings of a session."""
        with self._transaction():
            self._connection.execute("UPDATE sessions SET settings = ? WHERE id = ?", (settings, session))

    def fork(
        self, session: str, settings: str, tip: int | None, kept: Collection[int] | None = None
    ) -> "Fork":
        """Copy the branch up to `tip` into a new session, or all messages `kept`, among them that branch."""
        origin = self.find(session)
        with self._transaction():
            wanted = {message.id for message in self._branch(tip)} if kept is None else set(kept)
            copy = self.create(origin.title, settings, session)
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

    def recent(self, limit: int | None = None) -> list[StoredSession]:
        """Return the sessions, the latest first."""
        return self._sessions("ORDER BY updated DESC LIMIT ?", -1 if limit is None else limit)

    def find(self, reference: str) -> StoredSession:
        """Find the session whose id starts with `reference`. Raises UsageError for none or several."""
        start = reference.strip().lower()
        found = self._sessions("WHERE substr(id, 1, length(?)) = ? ORDER BY updated DESC", start, start)
        if not start or not found:
            raise UsageError(f"there is no session {reference}", "`ossctl sessions list` shows them.")
        if len(found) > 1:
            ids = ", ".join(session.id for session in found[:5])
            raise UsageError(f"{reference} matches several sessions: {ids}")
        return found[0]

    def search(self, text: str, limit: int = 50) -> list[SearchHit]:
        """Find messages with all words of `text`, the latest first. Raises UsageError if it is blank."""
        words = text.split()
        if not words:
            raise UsageError("the text to search for is empty")
        with sqlite_errors(self._name):
            if self._has_index:
                self._update_index()
                rows = self._connection.execute(
                    """SELECT session, role, snippet(message_text, 0, '[', ']', '…', 16), created
                    FROM message_text JOIN messages ON messages.id = message_text.rowid
                    WHERE message_text MATCH ? ORDER BY messages.id DESC LIMIT ?""",
                    (" ".join(f'"{word.replace(chr(34), "")}"*' for word in words), limit),
                ).fetchall()
            else:
                has_all = " AND ".join(["content LIKE ? ESCAPE '\\'"] * len(words))
                query = f"SELECT session, role, content, created FROM messages WHERE {has_all} "  # noqa: S608
                patterns = [f"%{_escaped(word)}%" for word in words]
                rows = self._connection.execute(
                    query + "ORDER BY id DESC LIMIT ?", (*patterns, limit)
                ).fetchall()
                rows = [(session, role, _excerpt(content, words), at) for session, role, content, at in rows]
        known = {session.id: session for session in self.recent()}
        return [SearchHit(known[session], role, excerpt, at) for session, role, excerpt, at in rows]

    def delete(self, session: str) -> None:
        """Delete a session and its messages."""
        with self._transaction():
            if self._has_index:
                self._connection.execute(
                    "DELETE FROM message_text WHERE rowid IN (SELECT id FROM messages WHERE session = ?)",
                    (session,),
                )
            self._connection.execute("DELETE FROM sessions WHERE id = ?", (session,))

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
                f"(SELECT count(*) FROM messages WHERE session = sessions.id) FROM sessions {which}",
                values,
            ).fetchall()
        return [
            StoredSession(
                i, title, datetime.fromisoformat(created), datetime.fromisoformat(updated), origin, s, n
            )
            for i, title, created, updated, origin, s, n in rows
        ]

    def _create_index(self) -> bool:
        """Create the full-text index, which searches fill. False if SQLite was built without FTS5."""
        query = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
        if self._connection.execute(query).fetchone() is None:
            return False
        if _has_table(self._connection, "message_text"):
            return True
        self._connection.execute("CREATE VIRTUAL TABLE IF NOT EXISTS message_text USING fts5 (content)")
        return True

    def _update_index(self) -> None:
        """Add messages that are not in the index, except answers that are still being generated."""
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO message_text (rowid, content) SELECT id, content FROM messages "
                "WHERE (state != 'partial' OR created < ?) AND id NOT IN (SELECT rowid FROM message_text)",
                ((datetime.now(UTC) - _PARTIAL_LIFETIME).isoformat(),),
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with sqlite_errors(self._name):
            if self._connection.in_transaction:
                yield
                return
            with transaction(self._connection):
                yield


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE name = ?"
    return connection.execute(query, (name,)).fetchone() is not None


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _excerpt(content: str, words: Sequence[str], around: int = 60) -> str:
    at = content.lower().find(words[0].lower())
    start, end = max(0, at - around), at + len(words[0]) + around
    found = f"[{content[at : at + len(words[0])]}]"
    text = content[start:at] + found + content[at + len(words[0]) : end]
    return f"{'…' if start else ''}{text}{'…' if end < len(content) else ''}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
