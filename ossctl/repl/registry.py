"""The slash commands: one declaration each makes the help, the completion and the errors."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from ossctl.errors import UsageError

Kind = Literal["", "path", "session", "model", "setting", "turn", "command"]
Target = TypeVar("Target")  # what commands act on


@dataclass(frozen=True)
class Command(Generic[Target]):
    """`arguments` is how they are written, `help` one line. `choices` or `kind` say what they may be.

    `aliases` are names that other programs have for it.
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
        """As it is typed."""
        return f"{self.name} {self.arguments}".rstrip()


class Registry(Generic[Target]):
    """All commands, in the order of the help."""

    def __init__(self, commands: Sequence[Command[Target]]) -> None:
        self.commands = tuple(commands)
        self._by_name = {name: command for command in commands for name in (command.name, *command.aliases)}

    def find(self, name: str) -> Command[Target] | None:
        """The command of exactly that name or alias."""
        return self._by_name.get(name.lower())

    def parse(self, line: str) -> tuple[Command[Target], str]:
        """The command of a line that begins with a slash, and its argument. Raises UsageError."""
        name, _, argument = line.strip().partition(" ")
        command = self.find(name)
        if command is None:
            raise UsageError(f"there is no command {name}", self._meant(name))
        argument = argument.strip()
        if argument and not command.arguments:
            raise UsageError(f"{command.name} takes nothing after it")
        if command.choices and argument and argument not in command.choices:
            raise UsageError(f"{command.usage}: {argument} is none of these")
        if not argument and command.arguments and not command.arguments.startswith("["):
            raise UsageError(f"{command.name} needs more: {command.usage}")
        return command, argument

    def _meant(self, name: str) -> str:
        begun = [known for known in self._by_name if len(name) > 1 and known.startswith(name.lower())]
        near = begun or difflib.get_close_matches(name.lower(), self._by_name, n=2)
        meant = f"Did you mean {' or '.join(near[:3])}? " if near else ""
        return f"{meant}/help shows all. A blank before the slash makes it a message."
