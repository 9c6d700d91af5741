"""What stands between `<|start|>` and `<|message|>`, however the model wrote it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ossctl.dialect import Answer, Preamble, Reasoning

Kind = type[Reasoning] | type[Preamble] | type[Answer]

_KINDS: dict[str, Kind] = {"analysis": Reasoning, "commentary": Preamble, "final": Answer}
_ROLES = ("assistant", "user", "system", "developer", "tool")
_NOBODY = frozenset(("assistant", "user", "all"))  # recipients that are no tools
_FUNCTIONS = "functions."
_BEGINNINGS = (*_KINDS, *_ROLES, "to=", _FUNCTIONS, "json")

_NAME = "[A-Za-z0-9_.-]+"
_ROLE = re.compile(rf"\s*({'|'.join(_ROLES)})(?=\s|to=|$)")
_AUTHOR = re.compile(rf"\s*([A-Za-z0-9_-]+\.{_NAME})(?=\s|$)")  # a tool, by its full name
_TO = re.compile(rf"\s*to=(?:\s+(?=functions\.))?({_NAME})")
_TO_ANYTHING = re.compile(r"\s*to=(?:\s+(?=functions\.))?(\S*)")
_BARE = re.compile(rf"\s+((?:functions|browser)\.{_NAME}|python)(?=\s|$)")
_TYPE = re.compile(r"\s*(?:json|code|text)\b", re.IGNORECASE)
_CHANNELS = re.compile(rf"\s*((?:{'|'.join(_KINDS)})+)(?=\s|to=|$)", re.IGNORECASE)
_WORD = re.compile(r"\s*([^\s=]+)(?=\s|$)")
_LONE_WORD = re.compile(r"\s*(\w+)\s*")


@dataclass(frozen=True, slots=True)
class Part:
    """A header's text after one of its markers; the role comes after `<|start|>`."""

    after: Literal["role", "channel", "constrain"]
    text: str


@dataclass
class MessageHeader:
    """What kind of text follows, or which tool is called, and what was odd.

    `stray` is text that is no header's; it comes before the content.
    """

    role: str = ""
    channels: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    stray: str = ""

    @property
    def kind(self) -> Kind:
        if self.role not in ("", "assistant"):
            return Reasoning
        return _KINDS.get(self.channels[-1], Answer) if self.channels else Answer

    @property
    def call(self) -> str | None:
        """The tool that is called: a function with its namespace, or a built-in one."""
        if self.role not in ("", "assistant") or not self.recipients:
            return None
        name = self.recipients[-1]
        return None if name in _NOBODY or not name.removeprefix(_FUNCTIONS) else name


def read_header(parts: Sequence[Part], *, role: str = "") -> MessageHeader:
    """Understand a header that has ended. `role` is given where the prompt ends with it."""
    header = _gathered(parts, role, ended=True)
    _judge(header)
    return header


def rescue(parts: Sequence[Part], *, role: str = "") -> MessageHeader:
    """A header that never ended: what there is of one; all other text is `stray`."""
    header = _gathered(parts, role, ended=False)
    _judge(header)
    return header


def may_go_on(parts: Sequence[Part], *, role: str = "") -> bool:
    """Whether this reads like the beginning of a good header, cut anywhere."""
    rest = _gathered(parts, role, ended=False).stray.strip()
    return any(beginning.startswith(rest) for beginning in _BEGINNINGS)


def _gathered(parts: Sequence[Part], role: str, *, ended: bool) -> MessageHeader:
    header = MessageHeader(role)
    for part in parts:
        _read(header, part, ended=ended)
    return header


def _read(header: MessageHeader, part: Part, *, ended: bool) -> None:
    """Take header words from the start of a part; the rest is stray."""
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
    """Recipients, content types and more channels, in any order."""
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
            header.complaints.append("a channel where none belongs")
        else:
            return at
        at = found.end()


def _judge(header: MessageHeader) -> None:
    """Complain of what is understood, but odd."""
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
        header.complaints.append(f"a message to {header.recipients[-1].removeprefix(_FUNCTIONS) or 'nobody'}")
    if not header.channels and header.call is None:
        header.complaints.append("a message without a channel")
