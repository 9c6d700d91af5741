"""Chats on disk: every message the moment it is complete, and an answer while it is being written."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self

from ossctl.errors import UsageError
from ossctl.storage.database import failures, open_database, open_in_memory, transaction

State = Literal["partial", "whole", "stopped"]

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is read as another character
_ID_LENGTH = 6
_WRITING = timedelta(hours=1)  # an answer that takes longer was left behind by a process that died
_FIELDS = "role, content, reasoning, calls, tool, token_ids, covers, state, created, details"


@dataclass(frozen=True)
class StoredMessage:
    """A message as it is kept. `calls` and `details` are JSON, `token_ids` token ids as int32.

    A message of role `cut` is none: the model does not see what comes before and up to message `covers` any
    more, but `content` instead, a summary. `partial` is an answer that is being written, or was when the
    process died.
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
    """A session without its messages; `messages` is how many there are, `settings` JSON."""

    id: str
    title: str
    created: datetime
    updated: datetime
    origin: str | None
    settings: str
    messages: int


@dataclass(frozen=True)
class Hit:
    """A message that has all words of a search; `excerpt` has them in brackets."""

    session: StoredSession
    role: str
    excerpt: str
    created: str


class Sessions:
    """The database. Errors of SQLite are raised as DatabaseUnusable."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._has_index = self._make_index()

    @classmethod
    def open(cls, path: Path) -> Self:
        """The database at `path`, made if there is none. Raises DatabaseUnusable."""
        with failures(path):
            return cls(open_database(path), str(path))

    @classmethod
    def in_memory(cls) -> Self:
        """Sessions that end with the process."""
        return cls(open_in_memory(), "memory")

    def close(self) -> None:
        """Put everything into the one file."""
        self._connection.close()

    def begin(self, title: str, settings: str, origin: str | None = None) -> str:
        """A new session; its id."""
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

    def add(self, session: str, parent: int | None, message: StoredMessage) -> int:
        """Put `message` after `parent`, as the tip of the session; its id."""
        with self._transaction():
            return self._insert(session, parent, message)

    def rewrite(self, message_id: int, message: StoredMessage) -> None:
        """What is known of an answer by now."""
        with self._transaction():
            self._connection.execute(
                "UPDATE messages SET content = ?, reasoning = ?, calls = ?, token_ids = ?, state = ?, "
                "details = ? WHERE id = ?",
                (
                    message.content, message.reasoning, message.calls, message.token_ids, message.state,
                    message.details, message_id,
                ),
            )  # fmt: skip

    def move_tip(self, session: str, message_id: int | None) -> None:
        """The session goes on after that message; None is its beginning."""
        with self._transaction():
            self._set_tip(session, message_id)

    def set_settings(self, session: str, settings: str) -> None:
        """From here on it is asked in this way."""
        with self._transaction():
            self._connection.execute("UPDATE sessions SET settings = ? WHERE id = ?", (settings, session))

    def fork(self, session: str, settings: str) -> tuple[str, list[StoredMessage]]:
        """A new session with a copy of the messages up to the tip."""
        origin, messages = self.find(session), self.messages(session)
        with self._transaction():
            copy = self.begin(origin.title, settings, session)
            copied: dict[int, int] = {}
            parent = None
            for message in messages:
                covers = None if message.covers is None else copied[message.covers]
                parent = self._insert(copy, parent, replace(message, covers=covers))
                copied[message.id] = parent
        return copy, self.messages(copy)

    def messages(self, session: str) -> list[StoredMessage]:
        """From the beginning to the tip."""
        with failures(self._name):
            rows = self._connection.execute(
                f"""WITH RECURSIVE branch (id, depth) AS (
                    SELECT tip, 0 FROM sessions WHERE id = ? AND tip IS NOT NULL
                    UNION ALL
                    SELECT parent, depth + 1 FROM branch JOIN messages USING (id) WHERE parent IS NOT NULL
                ) SELECT {_FIELDS}, id FROM branch JOIN messages USING (id) ORDER BY depth DESC""",  # noqa: S608
                (session,),
            ).fetchall()
        return [StoredMessage(*row) for row in rows]

    def answers(self, session: str) -> int:
        """How many answers the session has, those of branches that were left among them."""
        with failures(self._name):
            query = "SELECT count(*) FROM messages WHERE session = ? AND role = 'assistant'"
            (count,) = self._connection.execute(query, (session,)).fetchone()
        return int(count)

    def listed(self, limit: int | None = None) -> list[StoredSession]:
        """The sessions, the latest first."""
        return self._sessions("ORDER BY updated DESC LIMIT ?", -1 if limit is None else limit)

    def find(self, reference: str) -> StoredSession:
        """The session whose id begins with `reference`. Raises UsageError for none or several."""
        start = reference.strip().lower()
        found = self._sessions("WHERE substr(id, 1, length(?)) = ? ORDER BY updated DESC", start, start)
        if not start or not found:
            raise UsageError(f"there is no session {reference}", "`ossctl sessions list` shows them.")
        if len(found) > 1:
            ids = ", ".join(session.id for session in found[:5])
            raise UsageError(f"{reference} is the beginning of several sessions: {ids}")
        return found[0]

    def search(self, text: str, limit: int = 50) -> list[Hit]:
        """Messages that have all words of `text`, the latest first. Raises UsageError without a word."""
        words = text.split()
        if not words:
            raise UsageError("there is nothing to search for")
        with failures(self._name):
            if self._has_index:
                self._index()
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
        known = {session.id: session for session in self.listed()}
        return [Hit(known[session], role, excerpt, at) for session, role, excerpt, at in rows]

    def delete(self, session: str) -> None:
        """Forget a session and all its messages."""
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

    def _set_tip(self, session: str, message_id: int | None) -> None:
        self._connection.execute(
            "UPDATE sessions SET tip = ?, updated = ? WHERE id = ?", (message_id, _now(), session)
        )

    def _sessions(self, which: str, *values: object) -> list[StoredSession]:
        with failures(self._name):
            rows = self._connection.execute(
                "SELECT id, title, created, updated, origin, settings, "  # noqa: S608 (no text of the user's)
                f"(SELECT count(*) FROM messages WHERE session = sessions.id) FROM sessions {which}",
                values,
            ).fetchall()
        return [
            StoredSession(
                i, title, datetime.fromisoformat(created), datetime.fromisoformat(updated), origin, s, n
            )
            for i, title, created, updated, origin, s, n in rows
        ]

    def _make_index(self) -> bool:
        """The index for searches, filled when there is one; False where SQLite was built without FTS5."""
        query = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
        if self._connection.execute(query).fetchone() is None:
            return False
        if _has_table(self._connection, "message_text"):
            return True
        self._connection.execute("CREATE VIRTUAL TABLE IF NOT EXISTS message_text USING fts5 (content)")
        return True

    def _index(self) -> None:
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO message_text (rowid, content) SELECT id, content FROM messages "
                "WHERE (state != 'partial' OR created < ?) AND id NOT IN (SELECT rowid FROM message_text)",
                ((datetime.now(UTC) - _WRITING).isoformat(),),
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with failures(self._name):
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
