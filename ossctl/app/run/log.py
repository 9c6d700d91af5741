"""The log of `ossctl run`: one-shots in the database of chats."""

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ossctl.app.run.progress import RunProgress
from ossctl.app.sessions.chat_settings import ChatSettings, RunSettings
from ossctl.app.sessions.session_log import SavedSession, load_session, open_sessions, title_of
from ossctl.app.sessions.stored import SessionModel, settings_record, stored_message
from ossctl.app.sessions.transcript import MessageEntry
from ossctl.app.user_text import encodable
from ossctl.dialect import Message
from ossctl.errors import UsageError
from ossctl.storage.database import DatabaseUnusable
from ossctl.storage.sessions import Sessions, TipMoved

_FIELDS = {"template_var": "template_variables"}  # options that have another name than their setting
_FORMATS = frozenset({"schema", "regex", "choice", "grammar"})


@dataclass(frozen=True)
class Earlier:
    """A saved run or chat that a run continues. `given` names the settings that replace its own."""

    saved: SavedSession
    given: Collection[str] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the model sees of it."""
        return self.saved.transcript.messages()

    @property
    def is_raw(self) -> bool:
        """Whether it is text without a chat format."""
        return isinstance(self.saved.settings, RunSettings) and self.saved.settings.raw

    def is_given(self, option: str) -> bool:
        """Whether an option replaces a setting."""
        name = option.removeprefix("--").replace("-", "_")
        return _FIELDS.get(name, name) in self.given

    def settings(self, ours: RunSettings) -> RunSettings:
        """The settings of the saved run, with those of `ours` that were given."""
        saved = self.saved.settings
        kept = saved if isinstance(saved, RunSettings) else RunSettings(**vars(saved))
        given = {*self.given} & {field.name for field in fields(RunSettings)}
        given |= _FORMATS if given & _FORMATS else frozenset()
        optional = kept.optional - given
        replaced: dict[str, Any] = {name: getattr(ours, name) for name in given}
        return replace(kept, optional=optional, **replaced)


@dataclass(frozen=True)
class RunLog:
    """Where a run is logged, and with what: `settings`, what it continues, and the `title` of a new entry."""

    path: Path
    settings: ChatSettings
    model: SessionModel
    title: str
    earlier: Earlier | None = None

    def save(self, progress: RunProgress) -> str:
        """Save the prompt and what there is of the answers; return why that failed, or ""."""
        start = len(self.earlier.messages) if self.earlier else 0
        start += bool(self.settings.system)
        turns = [*progress.turns(start)]
        if not turns:
            return ""
        settings = settings_record(self.settings, replace(self.model, name=progress.model))
        try:
            with closing(Sessions.open(self.path)) as sessions, sessions.transaction():
                for turn in turns:
                    self._add(sessions, turn, settings)
        except DatabaseUnusable as error:
            return ". ".join(filter(None, (error.message, error.hint)))
        return ""

    def _add(self, sessions: Sessions, turn: Sequence[MessageEntry], settings: str) -> None:
        """Add an answer to the run that is continued, or to a copy if that has another by now."""
        messages = [stored_message(entry) for entry in turn]
        if self.earlier is None:
            session = sessions.create(encodable(title_of(self.title)), settings, kind="run")
            sessions.extend(session, messages, settings, None)
            return
        saved = self.earlier.saved
        tip = saved.transcript.tip
        try:
            sessions.extend(saved.id, messages, settings, tip)
        except TipMoved:
            fork = sessions.fork(saved.id, settings, tip)
            sessions.extend(fork.id, messages, settings, None if tip is None else fork.ids[tip])


def find_run(path: Path, reference: str | None) -> SavedSession:
    """The saved run or chat with an id, or the latest run. Raises UsageError."""
    with closing(open_sessions(path)) as sessions:
        if reference is not None:
            return load_session(sessions, sessions.find(reference))
        latest = sessions.recent(1, "run")
        if not latest:
            hint = "`ossctl run --log` keeps one; OSSCTL_LOG=1 keeps all."
            raise UsageError("there is no run to continue", hint)
        return load_session(sessions, latest[0])
