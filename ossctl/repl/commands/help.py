"""`/help`"""

from typing import TYPE_CHECKING

from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl

KEYS = (
    ("Enter", "send; Alt-Enter, or \\ at the end of a line, starts a new line"),
    ("Ctrl-C", "stop the answer; at the prompt, clear the text; twice leaves"),
    ("Ctrl-X Ctrl-E", "edit the message in $EDITOR"),
    ("@path", "in a message, attach that file"),
)


def help_(repl: "Repl", argument: str) -> None:
    """`/help [COMMAND]`"""
    if argument:
        name = f"/{argument.lstrip('/')}"
        command = repl.registry.find(name)
        if command is None:
            raise UsageError(f"there is no command {name}", "/help lists all commands.")
        aliases = f" Also {', '.join(command.aliases)}." if command.aliases else ""
        repl.say(f"{command.usage}  {command.help}{aliases}")
        return
    commands = repl.registry.commands
    width = max(len(command.usage) for command in commands)
    repl.say(*(f"{command.usage:{width}}  {command.help}" for command in commands), "")
    repl.say(*(f"{key:{width}}  {action}" for key, action in KEYS))
