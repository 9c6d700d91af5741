"""What could come next in a message: slash commands, their arguments, and files."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossctl.repl.registry import Command, Registry

_MOST = 200  # that anybody looks through
_MENTION = re.compile(r'(?<!\S)@("[^"\n]*|[^\s"]*)\Z')  # that is not complete


@dataclass(frozen=True)
class Candidate:
    """`text` replaces the last `length` characters before the cursor; `about` is shown beside it."""

    text: str
    length: int
    about: str = ""


Offers = Callable[[str], Sequence[tuple[str, str]]]  # of a kind of argument: values, and what they are


def candidates(text: str, registry: Registry[Any], offers: Offers) -> list[Candidate]:
    """What may continue `text`, which is all that stands before the cursor."""
    if text.startswith("/") and "\n" not in text:
        name, blank, argument = text.partition(" ")
        if not blank:
            return _commands(name, registry)
        command = registry.find(name)
        return _arguments(argument, command, offers) if command else []
    mention = _MENTION.search(text)
    if mention is None:
        return []
    start = mention[1]
    return [Candidate(_quoted(path), len(start)) for path in paths(start.removeprefix('"'))]


def _quoted(path: str) -> str:
    """As a message mentions it. The quotation of a folder is open: a file is to follow."""
    if not any(character.isspace() for character in path):
        return path
    return f'"{path}' if path.endswith("/") else f'"{path}"'


def paths(start: str) -> Iterator[str]:
    """Files and folders whose path begins with `start`; hidden ones only where that is asked for."""
    folder, slash, name = start.rpartition("/")
    directory = Path(f"{folder}{slash}").expanduser() if slash else Path()
    try:
        entries = sorted(directory.iterdir(), key=lambda entry: entry.name)
    except (OSError, RuntimeError):
        return
    count = 0
    for entry in entries:
        if not entry.name.startswith(name) or (entry.name.startswith(".") and not name.startswith(".")):
            continue
        count += 1
        if count > _MOST:
            return
        yield f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}"


def _commands(start: str, registry: Registry[Any]) -> list[Candidate]:
    return [
        Candidate(command.name, len(start), command.help)
        for command in registry.commands
        if command.name.startswith(start.lower())
    ]


def _arguments(argument: str, command: Command[Any], offers: Offers) -> list[Candidate]:
    if command.kind == "path":
        return [Candidate(path, len(argument)) for path in paths(argument)]
    found = [(choice, "") for choice in command.choices] or offers(command.kind)
    return [
        Candidate(value, len(argument), about)
        for value, about in found
        if value.lower().startswith(argument.lower()) and value != argument
    ]
