"""Starts a chat: a new one, or one that continues a saved session."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from ossctl.app.chat.chat import Chat
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.sessions.session_log import SavedSession, SessionLog, SessionModel
from ossctl.app.tools.toolbox import Toolbox
from ossctl.errors import RequestError, UsageError

_SEED_BYTES = 4  # of a random seed: short enough to type again


@dataclass(frozen=True)
class StartOptions:
    """The command line of `ossctl chat`. `given` names the settings that override those of a saved session.

    `resume` is the start of a session's id; `continue_latest` stands for the latest session.
    """

    settings: ChatSettings
    given: Collection[str]
    resume: str | None = None
    continue_latest: bool = False
    tools: Toolbox = field(default_factory=Toolbox)


def start_chat(options: StartOptions, log: SessionLog) -> tuple[Chat, SavedSession | None]:
    """The chat, and the session that it continues, if any. Raises UsageError."""
    reference = _reference(options, log)
    settings = options.settings
    if "seed" not in options.given or settings.seed == -1:
        settings = replace(settings, seed=random_seed())
    options.tools.start()
    chat = Chat(log, settings, SessionModel(""), options.tools)
    saved = None
    try:
        if reference is not None:
            saved = chat.resume(reference)
            overrides: dict[str, Any] = {name: getattr(settings, name) for name in options.given}
            chat.settings = replace(saved.settings, **overrides)
        else:
            chat.settings = settings
    except RequestError as error:
        raise UsageError(f"--{error.message.replace('_', '-', 1)}") from None
    return chat, saved


def random_seed() -> int:
    """A seed for a chat that is given none."""
    return int.from_bytes(os.urandom(_SEED_BYTES))


def _reference(options: StartOptions, log: SessionLog) -> str | None:
    if options.resume is None and not options.continue_latest:
        return None
    if log.problem:
        raise UsageError(f"there is no chat to continue: {log.problem}")
    if options.resume is not None:
        return options.resume
    latest = log.sessions.recent(1, "chat")
    if not latest:
        raise UsageError("there is no chat to continue", "`ossctl chat` starts one.")
    return latest[0].id
