"""Completes slash commands, their arguments, and mentioned files."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ossctl.app.chat.paths import names_in, user_path
from ossctl.repl.registry import Command, Registry, looks_like_command

_MAX_PATHS = 200
_SEPARATORS = ("/", "\\") if sys.platform == "win32" else ("/",)  # of folders in paths
_MENTION = re.compile(r'(?<!\S)@("[^"\n]*|[^\s"]*)\Z')  # an unfinished one


@dataclass(frozen=True)
class Candidate:
    """`text` replaces the last `length` characters before the cursor; `about` is shown next to it."""

    text: str
    length: int
    about: str = ""


Values = Callable[[str], Sequence[tuple[str, str]]]  # (value, description) pairs for a kind of argument


def candidates(text: str, registry: Registry[Any], values: Values) -> list[Candidate]:
    """Completions of `text`, the text before the cursor."""
    if looks_like_command(text):
        name, blank, argument = text.partition(" ")
        if not blank:
            return _commands(name, registry)
        command = registry.find(name)
        return _arguments(argument, command, values) if command else []
    mention = _MENTION.search(text)
    if mention is None:
        return []
    start = mention[1]
    return [Candidate(_quoted(path), len(start)) for path in paths(start.removeprefix('"'))]


def _quoted(path: str) -> str:
    """`path` as it is mentioned. A folder has no closing quote, because a file name follows."""
    if not any(character.isspace() for character in path):
        return path
    return f'"{path}' if path.endswith("/") else f'"{path}"'


def paths(start: str) -> Iterator[str]:
    """Files and folders whose path starts with `start`; hidden ones only if the name starts with a dot."""
    cut = max(map(start.rfind, _SEPARATORS)) + 1
    folder, name = start[:cut], start[cut:]
    found = names_in(user_path(folder))
    shown = ((entry, is_folder) for entry, is_folder in found if entry.startswith(name))
    visible = [each for each in shown if name.startswith(".") or not each[0].startswith(".")]
    for entry, is_folder in sorted(visible)[:_MAX_PATHS]:
        yield f"{folder}{entry}{'/' if is_folder else ''}"


def _commands(start: str, registry: Registry[Any]) -> list[Candidate]:
    return [
        Candidate(command.name, len(start), command.help)
        for command in registry.commands
        if command.name.startswith(start.lower())
    ]


def _arguments(argument: str, command: Command[Any], values: Values) -> list[Candidate]:
    if command.kind == "path":
        return [Candidate(path, len(argument)) for path in paths(argument)]
    found = [(choice, "") for choice in command.choices] or values(command.kind)
    return [
        Candidate(value, len(argument), about)
        for value, about in found
        if value.lower().startswith(argument.lower()) and value != argument
    ]
