"""How a chat begins: anew, or where another was left."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from ossctl.app.chat.chat import Chat, Tools
from ossctl.app.chat.session_log import Book, Remembered, SessionModel
from ossctl.app.chat.settings import ChatSettings
from ossctl.errors import RequestError, UsageError

_SEED_BYTES = 4  # of a drawn one: short enough to type again


@dataclass(frozen=True)
class Beginning:
    """What the command line says. Of `settings`, those `given` hold for a session that is gone on with too.

    `resume` is the beginning of its id; `go_on` is the latest one.
    """

    settings: ChatSettings
    given: Collection[str]
    resume: str | None = None
    go_on: bool = False
    tools: Tools = field(default_factory=Tools)


def begin(beginning: Beginning, book: Book) -> tuple[Chat, Remembered | None]:
    """The chat, and what there was of it. Raises UsageError."""
    reference = _reference(beginning, book)
    settings = beginning.settings
    if "seed" not in beginning.given:
        settings = replace(settings, seed=int.from_bytes(os.urandom(_SEED_BYTES)))
    chat = Chat(book, settings, SessionModel(""), beginning.tools)
    remembered = None
    try:
        if reference is not None:
            remembered = chat.resume(reference)
            changed: dict[str, Any] = {name: getattr(settings, name) for name in beginning.given}
            chat.settings = replace(remembered.settings, **changed)
        else:
            chat.settings = settings
    except RequestError as error:
        raise UsageError(f"--{error.message.replace('_', '-', 1)}") from None
    return chat, remembered


def _reference(beginning: Beginning, book: Book) -> str | None:
    if beginning.resume is None and not beginning.go_on:
        return None
    if book.problem:
        raise UsageError(f"there is no chat to go on with: {book.problem}")
    if beginning.resume is not None:
        return beginning.resume
    latest = book.sessions.recent(1)
    if not latest:
        raise UsageError("there is no chat to go on with", "`ossctl chat` begins one.")
    return latest[0].id
