"""A chat as Markdown, to read, and as JSON, for programs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ossctl.app.chat.session_log import Remembered
from ossctl.app.chat.settings import ChatSettings
from ossctl.app.chat.transcript import Cut, Said, Transcript

SCHEMA = "ossctl.session/1"


@dataclass(frozen=True)
class Exported:
    """What an export is made of."""

    id: str
    title: str
    model: str
    settings: ChatSettings
    transcript: Transcript


def exported(session: Remembered) -> Exported:
    """A session that is kept."""
    name = session.model.name or session.model.reference
    return Exported(session.id, session.title, name, session.settings, session.transcript)


def markdown_of(chat: Exported) -> str:
    """The chat to read. What the model no longer sees is marked."""
    return "\n\n".join(_paragraphs(chat)) + "\n"


def record_of(chat: Exported) -> dict[str, Any]:
    """`ossctl.session/1`. `seen` is whether the message is in the model's context."""
    hidden = _hidden_ids(chat.transcript)
    return {
        "schema": SCHEMA,
        "id": chat.id,
        "title": chat.title,
        "model": chat.model,
        "settings": {**chat.settings.record(), **_as_text("date", chat.settings.date)},
        "messages": [
            _cut(entry) if isinstance(entry, Cut) else _message(entry, seen=entry.id not in hidden)
            for entry in chat.transcript.entries
        ],
    }


def _paragraphs(chat: Exported) -> Iterator[str]:
    yield f"# {chat.title or 'Chat'}"
    yield f"Session {chat.id}, with {chat.model}"
    if chat.settings.system:
        yield f"## Instructions\n\n{chat.settings.system}"
    hidden = _hidden_ids(chat.transcript)
    for entry in chat.transcript.entries:
        if isinstance(entry, Cut):
            what = f"sees this summary instead:\n\n{entry.summary}" if entry.summary else "sees none of it."
            quoted = f"Of what is marked as out of context the model {what}".replace("\n", "\n> ")
            yield f"> {quoted}"
            continue
        mark = " (out of context)" if entry.id in hidden else ""
        message = entry.message
        if message.role == "tool":
            yield f"### Result of {message.tool}{mark}\n\n{_fenced(message.content)}"
            continue
        who = "You" if message.role == "user" else str(entry.details.get("model") or chat.model)
        yield f"## {who}{mark}"
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


def _message(entry: Said, *, seen: bool) -> dict[str, Any]:
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


def _cut(entry: Cut) -> dict[str, Any]:
    return {"role": "cut", "content": entry.summary, "created": entry.created or None}


def _hidden_ids(transcript: Transcript) -> set[int]:
    hidden = transcript.turns[: transcript.hidden]
    return {entry.id for turn in hidden for entry in turn.entries}


def _as_text(name: str, value: object) -> dict[str, str]:
    return {} if value is None else {name: str(value)}
