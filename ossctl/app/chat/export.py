"""Exports a chat as Markdown for people and as JSON for programs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossctl.app.chat.paths import is_dangling, kind_of
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.sessions.session_log import SavedSession
from ossctl.app.sessions.transcript import ContextCut, MessageEntry, Transcript
from ossctl.errors import UsageError
from ossctl.storage.atomic import atomic_write

SCHEMA = "ossctl.session/1"


@dataclass(frozen=True)
class ExportedChat:
    """The parts of a chat that an export contains. `id` is empty if the chat is not saved."""

    id: str
    title: str
    model: str
    settings: ChatSettings
    transcript: Transcript


def export_of(session: SavedSession) -> ExportedChat:
    """A saved session as an export."""
    name = session.model.name or session.model.reference
    return ExportedChat(session.id, session.title, name, session.settings, session.transcript)


def markdown_of(chat: ExportedChat) -> str:
    """The chat as Markdown. Messages that the model no longer sees are marked."""
    return "\n\n".join(_paragraphs(chat)) + "\n"


def record_of(chat: ExportedChat) -> dict[str, Any]:
    """The chat as `ossctl.session/1`. `seen` is whether a message is in the model's context."""
    hidden = _hidden_ids(chat.transcript)
    return {
        "schema": SCHEMA,
        "id": chat.id,
        "title": chat.title,
        "model": chat.model,
        "settings": {**chat.settings.record(), **_as_text("date", chat.settings.date)},
        "messages": [
            _cut(entry) if isinstance(entry, ContextCut) else _message(entry, seen=entry.id not in hidden)
            for entry in chat.transcript.entries
        ],
    }


def save_new(path: Path, text: str) -> None:
    """Write `text` to a new file. Raises UsageError if `path` exists, OssctlError if it cannot be written.

    A dangling symbolic link counts as a file, because it may lead anywhere. A device is written to.
    """
    if kind_of(path) in ("file", "folder") or is_dangling(path):
        raise UsageError(f"{path} exists", "Choose another name.")
    try:
        atomic_write(path, text.encode("utf-8", "replace"))
    except (ValueError, RuntimeError):  # a zero byte, or links in a loop
        raise UsageError(f"cannot write {path}: no file can have this name") from None


def _paragraphs(chat: ExportedChat) -> Iterator[str]:
    yield f"# {chat.title or 'Chat'}"
    yield f"Session {chat.id}, with {chat.model}"
    if chat.settings.system:
        yield f"## Instructions\n\n{chat.settings.system}"
    hidden = _hidden_ids(chat.transcript)
    for entry in chat.transcript.entries:
        if isinstance(entry, ContextCut):
            instead = f"this summary instead:\n\n{entry.summary}" if entry.summary else "nothing instead."
            quoted = f"The messages marked as out of context are hidden from the model, which sees {instead}"
            yield f"> {quoted}".replace("\n", "\n> ")
        else:
            mark = " (out of context)" if entry.id in hidden else ""
            yield from _message_paragraphs(entry, chat.model, mark)


def _message_paragraphs(entry: MessageEntry, model: str, mark: str) -> Iterator[str]:
    message = entry.message
    if message.role == "tool":
        yield f"### Result of {message.tool}{mark}\n\n{_fenced(message.content)}"
        return
    author = "You" if message.role == "user" else str(entry.details.get("model") or model)
    yield f"## {author}{mark}"
    if message.content.strip():
        yield message.content.strip()
    yield from (f"Calls `{call.name}`:\n\n{_fenced(call.arguments)}" for call in message.calls)
    if entry.state == "stopped":
        yield "*(stopped)*"


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.rstrip()}\n{fence}"


def _message(entry: MessageEntry, *, seen: bool) -> dict[str, Any]:
    message = entry.message
    optional: Mapping[str, Any] = {
        "reasoning_content": message.reasoning,
        "tool_calls": [{"name": call.name, "arguments": call.arguments} for call in message.calls],
        "name": message.tool,
        "details": dict(entry.details),
    }
    return {
        "role": message.role,
        "content": message.content,
        **{name: value for name, value in optional.items() if value},
        "state": entry.state,
        "seen": seen,
        "created": entry.created or None,
    }


def _cut(entry: ContextCut) -> dict[str, Any]:
    return {"role": "cut", "content": entry.summary, "created": entry.created or None}


def _hidden_ids(transcript: Transcript) -> set[int]:
    hidden = transcript.turns[: transcript.hidden]
    return {entry.id for turn in hidden for entry in turn.entries}


def _as_text(name: str, value: object) -> dict[str, str]:
    return {} if value is None else {name: str(value)}
