"""Saves a chat in the database while it is written, and loads it again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import msgspec

from ossctl.app.sessions.chat_settings import ChatSettings, run_settings_of, settings_of
from ossctl.app.sessions.stored import CUT, SessionModel, entry_of, settings_record, stored_message
from ossctl.app.sessions.transcript import ContextCut, Entry, MessageEntry, Transcript
from ossctl.app.user_text import encodable
from ossctl.dialect import Message
from ossctl.errors import UsageError
from ossctl.storage.database import DatabaseUnusable
from ossctl.storage.sessions import Kind, Sessions, StoredMessage, StoredSession, TipMoved

__all__ = [
    "AnswerWriter",
    "SavedSession",
    "SessionLog",
    "SessionModel",
    "Sessions",
    "StoredSession",
    "list_sessions",
    "load_session",
    "open_session_log",
    "open_sessions",
    "title_of",
]

_SECONDS_BETWEEN_WRITES = 0.1  # of an unfinished answer that is short
_CHARACTERS_PER_SECOND = 100_000  # to write of an unfinished answer, each time the whole of it
_MAX_TITLE = 60  # characters

_AnyEntry = TypeVar("_AnyEntry", bound=MessageEntry | ContextCut)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class SavedSession:
    """A session loaded from the database. `n_answers` includes answers that were undone or retried."""

    id: str
    title: str
    transcript: Transcript
    settings: ChatSettings
    model: SessionModel
    n_answers: int
    kind: Kind = "chat"


class SessionLog:
    """Writes one session at a time to the database.

    If another chat continues the session meanwhile, a copy of it is continued here. If the database fails,
    `problem` describes why, and from then on nothing is saved.
    """

    def __init__(self, sessions: Sessions, problem: str = "") -> None:
        self.sessions = sessions
        self.problem = problem
        self.session: str | None = None  # id
        self._context: tuple[ChatSettings, SessionModel] | None = None
        self._is_noted = True  # whether the session in the database has the context
        self._unsaved_id = -1  # ids of entries that are not in the database count down from here
        self._tip: int | None = None  # of the session, as it was last read or written here
        self._rows: dict[int, int] = {}  # ids in the session, by the ids of entries
        self._is_run = False  # whether the session is a logged run, and becomes a chat when it is continued
        self._left: str | None = None  # the session that another chat has continued

    def note_settings(self, settings: ChatSettings, model: SessionModel, *, now: bool = True) -> None:
        """Save the settings and the model that the session uses from now on, or from its next message on."""
        if self._context != (settings, model):
            self._context = settings, model
            self._is_noted = False
        if now:
            self._note()

    def _note(self) -> None:
        if not self._is_noted and self.session is not None:
            self._try(lambda session: self.sessions.set_settings(session, self._record()))
            self._is_noted = True

    def add(self, transcript: Transcript, entry: _AnyEntry) -> _AnyEntry:
        """Save `entry` after the transcript and return it with its id. The first entry creates a session."""
        if self.session is None and not self.problem:
            self._create(
                encodable(title_of(entry.message.content)) if isinstance(entry, MessageEntry) else ""
            )

        def write(session: str) -> int:
            if self._is_run:
                self.sessions.set_kind(session, "chat")
                self._is_run = False
            stored = self._stored(entry)
            row_id = self.sessions.add(session, self._row(transcript.tip), stored, self._tip)
            self._rows[row_id] = self._tip = row_id
            return row_id

        row_id = self._try(write)
        self._note()
        self._unsaved_id -= row_id is None
        return replace(entry, id=self._unsaved_id if row_id is None else row_id)

    def rewrite(self, entry: MessageEntry) -> None:
        """Save the current text and state of an answer."""
        self._try(lambda _: self.sessions.update(self._rows[entry.id], self._stored(entry)))

    def move_tip(self, transcript: Transcript) -> None:
        """Continue the session after the last entry of `transcript`."""

        def write(session: str) -> None:
            tip = self._row(transcript.tip)
            self.sessions.move_tip(session, tip, self._tip)
            self._tip = tip

        self._try(write)

    def take_left(self) -> str | None:
        """The session that another chat has continued, so that a copy is continued here; once."""
        left, self._left = self._left, None
        return left

    def start_new(self) -> None:
        """Close the session. The next entry creates another one."""
        self.session = self._tip = None
        self._rows, self._is_run = {}, False

    def open(self, reference: str) -> SavedSession:
        """Continue the session whose id starts with `reference`. Raises UsageError."""
        saved = load_session(self.sessions, self.sessions.find(reference))
        self.session, self._context = saved.id, None
        self._is_run = saved.kind == "run"
        self._tip = saved.transcript.tip
        self._rows = {entry.id: entry.id for entry in saved.transcript.entries}
        return saved

    def fork(self) -> SavedSession:
        """Copy the session and continue the copy. Raises UsageError if there is no session."""
        if self.session is None:
            raise UsageError("there is nothing to fork yet", "Send a message first.")
        return self.open(self.sessions.fork(self.session, self._record(), self._tip).id)

    def _leave(self, session: str) -> str:
        """Continue a copy of the session, with all messages that were read or written here."""
        fork = self.sessions.fork(session, self._record(), self._tip, self._rows.values())
        self._rows = {entry: fork.ids[row] for entry, row in self._rows.items()}
        self._tip = None if self._tip is None else fork.ids[self._tip]
        self.session, self._left = fork.id, session
        return fork.id

    def _row(self, entry: int | None) -> int | None:
        return None if entry is None else self._rows[entry]

    def _create(self, title: str) -> None:
        try:
            self.session = self.sessions.create(title, self._record())
        except DatabaseUnusable as error:
            self.problem = error.message

    def _record(self) -> str:
        return settings_record(*self._context) if self._context else settings_record()

    def _stored(self, entry: Entry) -> StoredMessage:
        if isinstance(entry, ContextCut):
            covers = self._rows[entry.covers]
            return StoredMessage(CUT, encodable(entry.summary), covers=covers, created=entry.created)
        return stored_message(entry)

    def _try(self, write: Callable[[str], _Result]) -> _Result | None:
        if self.session is None or self.problem:
            return None
        try:
            try:
                return write(self.session)
            except TipMoved:
                return write(self._leave(self.session))
        except UsageError as error:
            self.problem = error.message
            return None


class AnswerWriter:
    """Saves an answer several times a second while it is generated, less often as it grows."""

    def __init__(self, log: SessionLog, transcript: Transcript, details: Mapping[str, Any]) -> None:
        self._log = log
        empty = MessageEntry(Message("assistant", ""), state="partial", details=dict(details))
        self._entry = log.add(transcript, empty)
        self._next = monotonic() + _SECONDS_BETWEEN_WRITES

    def update(self, content: Sequence[str], reasoning: Sequence[str]) -> None:
        """Save the answer so far, unless it was saved a moment ago."""
        if monotonic() < self._next:
            return
        message = Message("assistant", "".join(content), "".join(reasoning))
        self._log.rewrite(replace(self._entry, message=message))
        length = len(message.content) + len(message.reasoning)
        self._next = monotonic() + max(_SECONDS_BETWEEN_WRITES, length / _CHARACTERS_PER_SECOND)

    def finish(self, message: Message, details: Mapping[str, Any], *, stopped: bool) -> MessageEntry:
        """Save the final answer and return its entry."""
        entry = replace(
            self._entry,
            message=message,
            state="stopped" if stopped else "whole",
            details={**self._entry.details, **details},
        )
        self._log.rewrite(entry)
        return entry


def open_session_log(path: Path) -> SessionLog:
    """The log in the database at `path`. If that is unusable, the log is in memory and has a `problem`."""
    try:
        return SessionLog(Sessions.open(path))
    except DatabaseUnusable as error:
        return SessionLog(Sessions.in_memory(), ". ".join(filter(None, (error.message, error.hint))))


def open_sessions(path: Path) -> Sessions:
    """The saved sessions: none if there is no database yet. Raises UsageError."""
    return Sessions.open(path) if path.exists() else Sessions.in_memory()


def list_sessions(path: Path, kind: Kind | None = None) -> list[StoredSession]:
    """The saved sessions, or those of a kind, the latest first; none if the database is unusable."""
    try:
        return open_sessions(path).recent(kind=kind)
    except DatabaseUnusable:
        return []


def load_session(sessions: Sessions, session: StoredSession) -> SavedSession:
    """Load a session with its messages and settings. Raises UsageError if its data are invalid."""
    try:
        record = msgspec.json.decode(session.settings)
        model = msgspec.convert(record.get("model") or {"reference": ""}, SessionModel)
        settings = run_settings_of(record) if session.kind == "run" else settings_of(record)
        entries = tuple(entry_of(row) for row in sessions.messages(session.id))
    except (msgspec.MsgspecError, ValueError, AttributeError) as error:
        raise UsageError(f"session {session.id} cannot be read: {error}") from None
    n_answers = sessions.count_answers(session.id)
    return SavedSession(
        session.id, session.title, Transcript(entries), settings, model, n_answers, session.kind
    )


def title_of(text: str) -> str:
    """The start of a message's first line."""
    line = next((line for line in text.splitlines() if line.strip()), "").strip()
    return line if len(line) <= _MAX_TITLE else f"{line[: _MAX_TITLE - 1].rstrip()}…"
