"""The current session of a chat: its transcript, saved with every change."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from ossctl.app.sessions.session_log import AnswerWriter, SavedSession, SessionLog
from ossctl.app.sessions.transcript import ContextCut, MessageEntry, Transcript, Turn
from ossctl.dialect import Message
from ossctl.errors import UsageError

UNSAVED = "unsaved"  # the name, for the engine, of a chat that is not saved


class ChatHistory:
    """`n_answers` counts all answers of the session, including those that were undone or retried."""

    def __init__(self, log: SessionLog) -> None:
        self.log = log
        self.transcript = Transcript()
        self.n_answers = 0

    @property
    def cache_key(self) -> str:
        """The session's name for the engine, which keeps the cache cells of several."""
        return self.log.session or UNSAVED

    @property
    def last_turn(self) -> Turn:
        """Raises UsageError if there is none."""
        if not self.transcript.turns:
            raise UsageError("there are no messages yet")
        return self.transcript.turns[-1]

    def turn(self, number: int) -> Turn:
        """The turn with that number. Raises UsageError if there is none."""
        turns = self.transcript.turns
        if not 1 <= number <= len(turns):
            count = f"the last one is {len(turns)}" if turns else "there are none yet"
            raise UsageError(f"there is no message {number}: {count}")
        return turns[number - 1]

    def add_message(self, message: Message) -> None:
        """Append a message of the user or a tool."""
        self._add(MessageEntry(message, created=_now()))

    def add_cut(self, summary: str, covers: int) -> None:
        """Hide the messages up to id `covers` from the model, behind `summary` if it is not empty."""
        self._add(ContextCut(summary, covers, created=_now()))

    def start_answer(self, details: Mapping[str, Any]) -> AnswerWriter:
        """Start to save an answer. It becomes part of the transcript with `finish_answer`."""
        return AnswerWriter(self.log, self.transcript, details)

    def finish_answer(self, entry: MessageEntry) -> None:
        """Append an answer that its writer has saved."""
        self.transcript = self.transcript.with_entry(entry)
        self.n_answers += 1

    def move_to(self, transcript: Transcript) -> None:
        """Return to another state of this session. Turns that were cut from the context stay cut."""
        old, new = self.transcript.cut, transcript.cut
        self.transcript = transcript
        self.log.move_tip(transcript)
        if old is None or (new is not None and new.covers >= old.covers):
            return
        if old.covers in (turn.last_id for turn in transcript.turns):
            self._add(old)

    def start_new(self) -> None:
        """Leave the session; the next message starts another one."""
        self.log.start_new()
        self.transcript, self.n_answers = Transcript(), 0

    def load(self, saved: SavedSession) -> None:
        """Continue a session that the log has opened."""
        self.transcript, self.n_answers = saved.transcript, saved.n_answers

    def _add(self, entry: MessageEntry | ContextCut) -> None:
        self.transcript = self.transcript.with_entry(self.log.add(self.transcript, entry))


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
