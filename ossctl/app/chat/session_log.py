"""Where a chat is kept: its transcript as rows of the database, written while it is said."""

import array
import functools
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import msgspec

from ossctl import __version__
from ossctl.app.chat.settings import ChatSettings, settings_of
from ossctl.app.chat.transcript import Cut, Entry, Said, State, Transcript
from ossctl.dialect import Message, ToolCall
from ossctl.errors import UsageError
from ossctl.storage.database import DatabaseUnusable
from ossctl.storage.sessions import Sessions, StoredMessage, StoredSession

__all__ = [
    "Book",
    "Remembered",
    "SessionModel",
    "Sessions",
    "StoredSession",
    "Writing",
    "known_sessions",
    "open_book",
    "open_sessions",
    "remembered_of",
    "title_of",
]

_SECONDS_BETWEEN_WRITES = 0.1  # of an answer that is being written
_TITLE_LENGTH = 60
_CUT = "cut"

_Kept = TypeVar("_Kept", bound=Said | Cut)
_T = TypeVar("_T")


@dataclass(frozen=True)
class SessionModel:
    """The model of a chat: `reference` is what -m was given or stood for."""

    reference: str
    name: str = ""
    path: str = ""


@dataclass(frozen=True)
class Remembered:
    """A session as it was left."""

    id: str
    title: str
    transcript: Transcript
    settings: ChatSettings
    model: SessionModel
    answers: int


class Book:
    """Writes one session at a time. When it can't any more, `problem` says why, and the chat goes on."""

    def __init__(self, sessions: Sessions, problem: str = "") -> None:
        self.sessions = sessions
        self.problem = problem
        self.session: str | None = None
        self._asked: tuple[ChatSettings, SessionModel] | None = None
        self._unsaved = -1  # ids of entries that are nowhere

    def note_settings(self, settings: ChatSettings, model: SessionModel) -> None:
        """How the session is asked from here on."""
        if self._asked != (settings, model):
            self._asked = settings, model
            if self.session is not None:
                self._try(lambda session: self.sessions.set_settings(session, self._record()))

    def add(self, transcript: Transcript, entry: _Kept) -> _Kept:
        """Keep `entry` as the latest of the transcript; it gets its id. The first one begins a session."""
        if self.session is None and not self.problem:
            self._begin(title_of(entry.message.content) if isinstance(entry, Said) else "")
        stored = _stored(entry)
        found = self._try(lambda session: self.sessions.add(session, transcript.tip, stored))
        self._unsaved -= found is None
        return replace(entry, id=self._unsaved if found is None else found)

    def rewrite(self, entry: Said) -> None:
        """What is known of an answer by now."""
        self._try(lambda _: self.sessions.update(entry.id, _stored(entry)))

    def go_back_to(self, transcript: Transcript) -> None:
        """The session goes on after that."""
        self._try(lambda session: self.sessions.move_tip(session, transcript.tip))

    def leave(self) -> None:
        """The next entry begins another session."""
        self.session = None

    def open(self, reference: str) -> Remembered:
        """Go on with a session. Raises UsageError."""
        remembered = remembered_of(self.sessions, self.sessions.find(reference))
        self.session, self._asked = remembered.id, None
        return remembered

    def fork(self) -> Remembered:
        """Go on with a copy of the session. Raises UsageError if there is nothing to copy."""
        if self.session is None:
            raise UsageError("there is nothing to fork yet", "Say something first.")
        copy, _ = self.sessions.fork(self.session, self._record())
        return self.open(copy)

    def _begin(self, title: str) -> None:
        try:
            self.session = self.sessions.create(title, self._record())
        except DatabaseUnusable as error:
            self.problem = error.message

    def _record(self) -> str:
        """How the session is asked, with the versions that do: enough to ask it again."""
        record: dict[str, Any] = {"versions": _versions()}
        if self._asked is not None:
            settings, model = self._asked
            described = {"reference": model.reference, "name": model.name, "path": model.path}
            record = {"model": described, **settings.record(), **record}
        return msgspec.json.encode(record).decode()

    def _try(self, write: Callable[[str], _T]) -> _T | None:
        if self.session is None or self.problem:
            return None
        try:
            return write(self.session)
        except DatabaseUnusable as error:
            self.problem = error.message
            return None


class Writing:
    """An answer that is being written, and is kept a few times a second."""

    def __init__(self, book: Book, transcript: Transcript, details: Mapping[str, Any]) -> None:
        self._book = book
        self._entry = book.add(
            transcript, Said(Message("assistant", ""), state="partial", details=dict(details))
        )
        self._next = monotonic() + _SECONDS_BETWEEN_WRITES

    def so_far(self, content: Sequence[str], reasoning: Sequence[str]) -> None:
        """Keep that, if the last time is long enough ago."""
        now = monotonic()
        if now >= self._next:
            self._next = now + _SECONDS_BETWEEN_WRITES
            message = Message("assistant", "".join(content), "".join(reasoning))
            self._book.rewrite(replace(self._entry, message=message))

    def finish(self, message: Message, details: Mapping[str, Any], *, stopped: bool) -> Said:
        """Keep all of it."""
        entry = replace(
            self._entry,
            message=message,
            state="stopped" if stopped else "whole",
            details={**self._entry.details, **details},
        )
        self._book.rewrite(entry)
        return entry


def open_book(path: Path) -> Book:
    """The book in the database at `path`; where it can't be used, one that is lost with the process."""
    try:
        return Book(Sessions.open(path))
    except DatabaseUnusable as error:
        return Book(Sessions.in_memory(), ". ".join(filter(None, (error.message, error.hint))))


def open_sessions(path: Path) -> Sessions:
    """The saved chats; none, where there is no database yet. Raises UsageError."""
    return Sessions.open(path) if path.exists() else Sessions.in_memory()


def known_sessions(path: Path) -> list[StoredSession]:
    """The saved chats, as far as they can be read."""
    try:
        return open_sessions(path).recent()
    except DatabaseUnusable:
        return []


def remembered_of(sessions: Sessions, session: StoredSession) -> Remembered:
    """All that is known of a session. Raises UsageError if it cannot be read."""
    try:
        record = msgspec.json.decode(session.settings)
        model = msgspec.convert(record.get("model") or {"reference": ""}, SessionModel)
        settings = settings_of(record)
        entries = tuple(_entry(row) for row in sessions.messages(session.id))
    except (msgspec.MsgspecError, ValueError, AttributeError) as error:
        raise UsageError(f"session {session.id} cannot be read: {error}") from None
    answers = sessions.count_answers(session.id)
    return Remembered(session.id, session.title, Transcript(entries), settings, model, answers)


def title_of(text: str) -> str:
    """The first words of a message."""
    line = next((line for line in text.splitlines() if line.strip()), "").strip()
    return line if len(line) <= _TITLE_LENGTH else f"{line[: _TITLE_LENGTH - 1].rstrip()}…"


def _stored(entry: Entry) -> StoredMessage:
    if isinstance(entry, Cut):
        return StoredMessage(_CUT, entry.summary, covers=entry.covers, created=entry.created)
    message = entry.message
    calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
    return StoredMessage(
        role=message.role,
        content=message.content,
        reasoning=message.reasoning,
        calls=msgspec.json.encode(calls).decode(),
        tool=message.tool,
        token_ids=array.array("i", message.token_ids).tobytes(),
        state=entry.state,
        created=entry.created,
        details=msgspec.json.encode(dict(entry.details)).decode(),
    )


def _entry(row: StoredMessage) -> Entry:
    if row.role == _CUT:
        return Cut(row.content, row.covers or 0, row.id, row.created)
    message = Message(
        role=msgspec.convert(row.role, Any),
        content=row.content,
        reasoning=row.reasoning,
        calls=tuple(msgspec.convert(msgspec.json.decode(row.calls), list[ToolCall])),
        tool=row.tool,
        token_ids=tuple(array.array("i", row.token_ids)),
    )
    state: State = "stopped" if row.state == "partial" else row.state  # the process died while it wrote
    return Said(message, row.id, state, row.created, msgspec.json.decode(row.details))


@functools.cache
def _versions() -> dict[str, str]:
    from importlib.metadata import version  # slow to import, and not needed before something is said

    return {
        "ossctl": __version__,
        "llama-cpp-python": version("llama-cpp-python"),
        "python": platform.python_version(),
    }
