"""Parsing message headers, between `<|start|>` and `<|message|>`, however malformed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ossctl.dialect import Answer, Preamble, Reasoning

Kind = type[Reasoning] | type[Preamble] | type[Answer]

_KINDS: dict[str, Kind] = {"analysis": Reasoning, "commentary": Preamble, "final": Answer}
_ROLES = ("assistant", "user", "system", "developer", "tool")
_NOT_TOOLS = frozenset(("assistant", "user", "all"))  # as recipients
_FUNCTIONS = "functions."
_HEADER_WORDS = (*_KINDS, *_ROLES, "to=", _FUNCTIONS, "json")

_NAME = "[A-Za-z0-9_.-]+"
_ROLE = re.compile(rf"\s*({'|'.join(_ROLES)})(?=\s|to=|$)")
_AUTHOR = re.compile(rf"\s*([A-Za-z0-9_-]+\.{_NAME})(?=\s|$)")  # a tool, by its full name
_TO = re.compile(rf"\s*to=(?:\s+(?=functions\.))?({_NAME})")
_TO_ANYTHING = re.compile(r"\s*to=(?:\s+(?=functions\.))?(\S*)")
_BARE = re.compile(rf"\s+((?:functions|browser|python)\.{_NAME}|python)(?=\s|$)")
_TYPE = re.compile(r"\s*(?:json|code|text)\b", re.IGNORECASE)
_CHANNELS = re.compile(rf"\s*((?:{'|'.join(_KINDS)})+)(?=\s|to=|$)", re.IGNORECASE)
_WORD = re.compile(r"\s*([^\s=]+)(?=\s|$)")
_LONE_WORD = re.compile(r"\s*(\w+)\s*")


@dataclass(frozen=True, slots=True)
class Part:
    """The text after one of a header's markers; the role follows `<|start|>`."""

    after: Literal["role", "channel", "constrain"]
    text: str


@dataclass
class MessageHeader:
    """The fields of a header, and what was wrong with it.

    `stray` is text that does not belong to a header. It precedes the content.
    """

    role: str = ""
    channels: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    stray: str = ""

    @property
    def kind(self) -> Kind:
        """The kind of text that follows."""
        if self.role not in ("", "assistant"):
            return Reasoning
        return _KINDS.get(self.channels[-1], Answer) if self.channels else Answer

    @property
    def call(self) -> str | None:
        """The name of the called tool, a function's with its namespace; None if the message is no call."""
        if self.role not in ("", "assistant") or not self.recipients:
            return None
        name = self.recipients[-1]
        return None if name in _NOT_TOOLS or not name.removeprefix(_FUNCTIONS) else name


def read_header(parts: Sequence[Part], *, role: str = "", ended: bool = True) -> MessageHeader:
    """Parse a header. `role` is its author if the prompt has already written it.

    If `ended` is false, `<|message|>` is missing and unknown words are `stray`: they may be content.
    """
    header = _read_parts(parts, role, ended=ended)
    _add_complaints(header)
    return header


def may_continue(parts: Sequence[Part], *, role: str = "") -> bool:
    """Whether these parts could be the start of a well-formed header."""
    rest = _read_parts(parts, role, ended=False).stray.strip()
    return any(word.startswith(rest) for word in _HEADER_WORDS)


def _read_parts(parts: Sequence[Part], role: str, *, ended: bool) -> MessageHeader:
    header = MessageHeader(role)
    for part in parts:
        _read(header, part, ended=ended)
    return header


def _read(header: MessageHeader, part: Part, *, ended: bool) -> None:
    """Read header words from the start of a part; the rest is stray."""
    at = 0
    if part.after == "role":
        at = _read_role(header, part.text, ended=ended)
    elif part.after == "channel":
        at = _read_channel(header, part.text, ended=ended)
    elif found := _TYPE.match(part.text):
        at = found.end()
    elif ended and (found := _LONE_WORD.fullmatch(part.text)):
        header.complaints.append(f"an unknown content type, {found[1][:40]!r}")
        at = found.end()
    at = _read_words(header, part.text, at, in_channel=part.after == "channel", ended=ended)
    header.stray += part.text[at:] if part.text[at:].strip() else ""


def _read_role(header: MessageHeader, text: str, *, ended: bool) -> int:
    if found := _ROLE.match(text):
        header.role = header.role or found[1]
        return found.end()
    if header.role:
        return 0
    if found := _AUTHOR.match(text):
        header.role = found[1]
        return found.end()
    if ended and (found := _LONE_WORD.fullmatch(text)):
        header.complaints.append(f"an unknown role, {found[1][:40]!r}")
        return found.end()
    return 0


def _read_channel(header: MessageHeader, text: str, *, ended: bool) -> int:
    if found := _CHANNELS.match(text):
        names = re.findall("|".join(_KINDS), found[1].lower())
        header.channels.append(names[0])
        if found[1] not in _KINDS:
            header.complaints.append(f"an unknown channel, {found[1][:40]!r}")
        return found.end()
    if ended:
        found = _WORD.match(text)
        name = found[1] if found else ""
        header.channels.append(name)
        header.complaints.append(f"an unknown channel, {name[:40]!r}")
        return found.end() if found else 0
    return 0


def _read_words(header: MessageHeader, text: str, at: int, *, in_channel: bool, ended: bool) -> int:
    """Read recipients, content types and more channels, in any order; return the end position."""
    while True:
        if found := (_TO_ANYTHING if ended else _TO).match(text, at):
            name = re.match(_NAME, found[1])
            header.recipients.append(name.group() if name else "")
            if header.recipients[-1] != found[1]:
                header.complaints.append(f"stray text in the recipient {found[1][:80]!r}")
        elif found := _BARE.match(text, at):
            header.recipients.append(found[1])
        elif at and (found := _TYPE.match(text, at)):
            pass
        elif (ended or not in_channel) and (found := _CHANNELS.match(text, at)):
            header.channels.append(found[1].lower())
            header.complaints.append("a misplaced channel")
        else:
            return at
        at = found.end()


def _add_complaints(header: MessageHeader) -> None:
    """Add what is understood but malformed."""
    if header.stray:
        header.complaints.append("text in a header")
    if header.role not in ("", "assistant"):
        header.complaints.append(f"a message as {header.role[:80]}")
        return
    if len(header.channels) > 1:
        header.complaints.append("a header with several channels")
    if len(header.recipients) > 1:
        header.complaints.append("a message to several recipients")
    if header.recipients and header.call is None:
        name = header.recipients[-1].removeprefix(_FUNCTIONS)
        header.complaints.append(f"a message to {name or 'an empty recipient'}")
    if not header.channels and header.call is None:
        header.complaints.append("a message without a channel")
