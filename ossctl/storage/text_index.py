"""A full-text index on disk, which several programs may use and update at the same time."""

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ossctl.errors import UsageError

_BUSY_SECONDS = 10.0  # how long to wait for another program's transaction
_OWNER_ONLY = 0o600
_MAX_WORDS = 32  # of a query
_STEPS = 20_000  # of SQLite's virtual machine between two looks at `keep_going`: a few milliseconds

# SQLite takes a run of these for one word, so an invisible space is put after each.
_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_SPACE = "\u200b"
_COMMON = re.compile(  # words that tell nothing, unless a query has no others
    r"an?|and|are|as|at|be|by|can|do|does|for|from|how|in|is|it|of|on|or|that|the|this|to|was|were|what|when|where"
    r"|which|who|why|with",
    re.IGNORECASE,
)
_PHRASES = re.compile(r'"([^"]+)"|(\S+)')
_WORD = re.compile(rf"[\w{_SPACE}]+")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, version TEXT NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5(
    title, path, body, tokenize = 'porter unicode61 remove_diacritics 2'
)
"""


@dataclass(frozen=True)
class IndexedText:
    """A text by its path. A text with another `version` takes its place."""

    path: str
    version: str
    title: str = ""
    body: str = ""


@dataclass(frozen=True)
class Match:
    """A text that a query found, with the passage around its words."""

    path: str
    title: str
    passage: str


class TextIndex:
    """The texts in the database at `path`. Every method raises UsageError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def versions(self) -> Mapping[str, str]:
        """The version of every text, by path."""
        with self._transaction(write=False) as database:
            return dict(database.execute("SELECT path, version FROM files"))

    def text(self, path: str, version: str) -> tuple[str, str] | None:
        """Title and body of a text, or None if it is missing, empty or has another version."""
        statement = (
            "SELECT title, body FROM texts JOIN files ON texts.rowid = files.id"
            " WHERE files.path = ? AND version = ? AND body != ''"
        )
        with self._transaction(write=False) as database:
            row = database.execute(statement, (path, version)).fetchone()
        return row and (row[0].replace(_SPACE, ""), row[1].replace(_SPACE, ""))

    def update(self, texts: Iterable[IndexedText], removed: Iterable[str] = ()) -> None:
        """Add texts or replace them, and remove others, as one transaction."""
        with self._transaction() as database:
            for path in removed:
                _remove(database, path)
            for text in texts:
                _remove(database, text.path)
                cursor = database.execute(
                    "INSERT INTO files (path, version) VALUES (?, ?)", (text.path, text.version)
                )
                database.execute(
                    "INSERT INTO texts (rowid, title, path, body) VALUES (?, ?, ?, ?)",
                    (cursor.lastrowid, _spaced(text.title), _spaced(text.path), _spaced(text.body)),
                )

    def search(self, query: str, limit: int, keep_going: Callable[[], bool]) -> Sequence[Match]:
        """The texts with any of the words, the best first. Words in quotes have to be next to each other."""
        phrases = _phrases(query)
        if not phrases:
            return ()
        statement = (
            "SELECT files.path, title, snippet(texts, 2, '', '', ' … ', 40)"
            " FROM texts JOIN files ON texts.rowid = files.id WHERE texts MATCH ?"
            " ORDER BY bm25(texts, 4.0, 2.0, 1.0) LIMIT ?"  # weights of title, path and body
        )
        with self._transaction(write=False) as database:
            database.set_progress_handler(lambda: not keep_going(), _STEPS)
            rows = database.execute(statement, (" OR ".join(phrases), limit)).fetchall()
        return [Match(path, *(text.replace(_SPACE, "") for text in texts)) for path, *texts in rows]

    @contextmanager
    def _transaction(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        """A damaged database is deleted: its texts are still in their files."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(_OWNER_ONLY)
            with contextlib.closing(
                sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            ) as database:
                database.execute("PRAGMA synchronous = OFF")  # the index may be lost
                if not database.execute("PRAGMA user_version").fetchone()[0]:
                    _create(database)
                database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                yield database
                database.execute("COMMIT")
        except OSError as error:
            raise UsageError(f"cannot write {self._path}: {error.strerror}") from None
        except sqlite3.OperationalError as error:
            raise UsageError(f"cannot use {self._path}: {error}") from None
        except sqlite3.DatabaseError as error:
            with contextlib.suppress(OSError):
                self._path.unlink()
            raise UsageError(
                f"{self._path} was damaged and has been deleted: {error}", "Try again."
            ) from None


def _create(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";"):
        database.execute(statement)
    database.execute("PRAGMA user_version = 1")
    database.execute("COMMIT")


def _remove(database: sqlite3.Connection, path: str) -> None:
    row = database.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
    if row:
        database.execute("DELETE FROM files WHERE id = ?", row)
        database.execute("DELETE FROM texts WHERE rowid = ?", row)


def _spaced(text: str) -> str:
    return _UNSPACED.sub(rf"\g<0>{_SPACE}", text)


def _phrases(query: str) -> list[str]:
    """Words and phrases in quotes, as FTS5 writes them."""
    found = (match[1] or match[2] for match in _PHRASES.finditer(query))
    words = dict.fromkeys(" ".join(_WORD.findall(_spaced(text))) for text in found)
    phrases = [text for text in words if text.strip(_SPACE)]
    telling = [text for text in phrases if not _COMMON.fullmatch(text)] or phrases
    return [f'"{text}"' for text in telling[:_MAX_WORDS]]
