"""Messages and settings as rows of the database, and back."""

import array
import functools
import json
import platform
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from ossctl import __version__
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.sessions.transcript import ContextCut, Entry, MessageEntry, State
from ossctl.app.user_text import encodable
from ossctl.dialect import Message, ToolCall
from ossctl.storage.sessions import StoredMessage

CUT = "cut"  # the role of a row


@dataclass(frozen=True)
class SessionModel:
    """The model of a session. `reference` is the name or path given to -m, or the default's.

    `template` is the path of the chat template; empty if that is the model's own.
    """

    reference: str
    name: str = ""
    path: str = ""
    template: str = ""


def settings_record(settings: ChatSettings | None = None, model: SessionModel | None = None) -> str:
    """Model, settings and versions as JSON: what it takes to repeat a session."""
    record: dict[str, Any] = {"versions": _versions()}
    if settings is not None and model is not None:
        record = {"model": asdict(model), **settings.record(), **record}
    return _as_json(record)


def stored_message(entry: MessageEntry) -> StoredMessage:
    """The row of a message."""
    message = entry.message
    calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
    return StoredMessage(
        role=message.role,
        content=encodable(message.content),
        reasoning=encodable(message.reasoning),
        calls=_as_json(calls),
        tool=encodable(message.tool),
        token_ids=array.array("i", message.token_ids).tobytes(),
        state=entry.state,
        created=entry.created,
        details=_as_json(dict(entry.details)),
    )


def entry_of(row: StoredMessage) -> Entry:
    """The message or the cut in a row. Raises ValueError and msgspec's errors for invalid data."""
    if row.role == CUT:
        return ContextCut(row.content, row.covers or 0, row.id, row.created)
    message = Message(
        role=msgspec.convert(row.role, Any),
        content=row.content,
        reasoning=row.reasoning,
        calls=tuple(msgspec.convert(msgspec.json.decode(row.calls), list[ToolCall])),
        tool=row.tool,
        token_ids=tuple(array.array("i", row.token_ids)),
    )
    state: State = "stopped" if row.state == "partial" else row.state  # its process died
    return MessageEntry(message, row.id, state, row.created, msgspec.json.decode(row.details))


def _as_json(value: object) -> str:
    return encodable(json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":")))


@functools.cache
def _versions() -> dict[str, str]:
    from importlib.metadata import version  # slow to import, and unused until the first message

    return {
        "ossctl": __version__,
        "llama-cpp-python": version("llama-cpp-python"),
        "python": platform.python_version(),
    }
