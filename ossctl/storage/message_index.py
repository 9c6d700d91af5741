"""The full-text index of saved messages."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ossctl.storage.database import transaction

_PARTIAL_LIFETIME = timedelta(hours=1)  # an older partial answer was left behind by a process that died

Row = tuple[str, str, str, str]  # session, role, excerpt, time of creation


class MessageIndex:
    """Finds messages by their words. Without FTS5, it reads all of them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._exists = self._create()

    def search(self, words: Sequence[str], limit: int, kind: str | None) -> list[Row]:
        """The messages with all `words` in sessions of a kind, or of all, the latest first."""
        if not self._exists:
            return self._scan(words, limit, kind)
        self._update()
        return self._connection.execute(
            """SELECT session, role, snippet(message_text, 0, '[', ']', '…', 16), messages.created
            FROM message_text JOIN messages ON messages.id = message_text.rowid
            JOIN sessions ON sessions.id = session
            WHERE message_text MATCH ? AND kind = coalesce(?, kind) ORDER BY messages.id DESC LIMIT ?""",
            (" ".join(f'"{word.replace(chr(34), "")}"*' for word in words), kind, limit),
        ).fetchall()

    def remove(self, session: str) -> None:
        """Remove the messages of a session that is about to be deleted."""
        if self._exists:
            self._connection.execute(
                "DELETE FROM message_text WHERE rowid IN (SELECT id FROM messages WHERE session = ?)",
                (session,),
            )

    def purge(self) -> None:
        """Rewrite the index without the words that only removed messages had."""
        if self._exists:
            self._connection.execute("INSERT INTO message_text (message_text) VALUES ('optimize')")

    def _scan(self, words: Sequence[str], limit: int, kind: str | None) -> list[Row]:
        has_all = " AND ".join(["content LIKE ? ESCAPE '\\'"] * len(words))
        query = (
            "SELECT session, role, content, messages.created FROM messages "  # noqa: S608 (no user input)
            f"JOIN sessions ON sessions.id = session WHERE {has_all} AND kind = coalesce(?, kind) "
            "ORDER BY messages.id DESC LIMIT ?"
        )
        patterns = [f"%{_escaped(word)}%" for word in words]
        rows = self._connection.execute(query, (*patterns, kind, limit)).fetchall()
        return [(session, role, _excerpt(content, words), at) for session, role, content, at in rows]

    def _create(self) -> bool:
        """Create the index, which searches fill. False if SQLite was built without FTS5."""
        query = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
        if self._connection.execute(query).fetchone() is None:
            return False
        query = "SELECT 1 FROM sqlite_master WHERE name = 'message_text'"
        if self._connection.execute(query).fetchone() is None:
            self._connection.execute("CREATE VIRTUAL TABLE IF NOT EXISTS message_text USING fts5 (content)")
        return True

    def _update(self) -> None:
        """Add messages that are not in the index, except answers that are still being generated."""
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO message_text (rowid, content) SELECT id, content FROM messages "
                "WHERE (state != 'partial' OR created < ?) AND id NOT IN (SELECT rowid FROM message_text)",
                ((datetime.now(UTC) - _PARTIAL_LIFETIME).isoformat(),),
            )


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _excerpt(content: str, words: Sequence[str], around: int = 60) -> str:
    at = content.lower().find(words[0].lower())
    start, end = max(0, at - around), at + len(words[0]) + around
    found = f"[{content[at : at + len(words[0])]}]"
    text = content[start:at] + found + content[at + len(words[0]) : end]
    return f"{'…' if start else ''}{text}{'…' if end < len(content) else ''}"
