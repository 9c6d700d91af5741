"""Slash commands. Each is declared once, for help, completion and error messages."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from ossctl.errors import UsageError

_FIRST_WORD = re.compile(r"/[A-Za-z]*(?: |\Z)")
_TYPO = 0.76  # similarity from which a word is taken for a mistyped command

Kind = Literal["", "path", "session", "model", "preset", "setting", "turn", "command"]
Target = TypeVar("Target")  # the object that commands act on


@dataclass(frozen=True)
class Command(Generic[Target]):
    """A command with its one-line help.

    `arguments` are as in a usage line, in brackets if optional. `choices` lists their values, or `kind` names
    what completes them. `aliases` are other programs' names for the command.
    """

    name: str
    run: Callable[[Target, str], None]
    help: str
    arguments: str = ""
    choices: Sequence[str] = ()
    kind: Kind = ""
    aliases: Sequence[str] = ()

    @property
    def usage(self) -> str:
        """The command as it is typed."""
        return f"{self.name} {self.arguments}".rstrip()


class Registry(Generic[Target]):
    """All commands, in the order of `/help`."""

    def __init__(self, commands: Sequence[Command[Target]]) -> None:
        self.commands = tuple(commands)
        self._by_name = {name: command for command in commands for name in (command.name, *command.aliases)}

    def find(self, name: str) -> Command[Target] | None:
        """The command with exactly this name or alias."""
        return self._by_name.get(name.lower())

    def parse(self, text: str) -> tuple[Command[Target], str] | None:
        """The command in `text` and its argument; None if `text` is a message.

        Paths, regular expressions, comments and switches of a chat template are messages, and so is
        everything with several lines. Raises UsageError for a wrong argument or a mistyped command.
        """
        line = text.rstrip()
        if not looks_like_command(line):
            return None
        name, _, argument = line.partition(" ")
        command = self.find(name)
        if command is None:
            self._refuse_typo(name)
            return None
        argument = argument.strip()
        if argument and not command.arguments:
            raise UsageError(f"{command.name} takes no argument")
        argument = argument.lower() if command.choices else argument
        if command.choices and argument and argument not in command.choices:
            raise UsageError(f"{argument} is not one of {', '.join(command.choices)}: {command.usage}")
        if not argument and command.arguments and not command.arguments.startswith("["):
            raise UsageError(f"{command.name} needs an argument: {command.usage}")
        return command, argument

    def _refuse_typo(self, name: str) -> None:
        completed = [known for known in self._by_name if known.startswith(name.lower())]
        near = completed or difflib.get_close_matches(name.lower(), self._by_name, n=2)
        if completed or difflib.get_close_matches(name.lower(), near, cutoff=_TYPO):
            question = f"Did you mean {' or '.join(near[:3])}? " if len(name) > 1 else ""
            hint = f"{question}/help lists all commands. Start with a space to send it as a message."
            raise UsageError(f"there is no command {name}", hint)


def looks_like_command(text: str) -> bool:
    """Whether `text` is one line that starts with a slash and a word of letters, as commands do."""
    return _FIRST_WORD.match(text) is not None and len(text.splitlines()) == 1
