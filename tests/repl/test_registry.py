"""Slash commands are found by what people type."""

import re

import pytest

from ossctl.errors import UsageError
from ossctl.repl.commands import all_commands


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        ("/save notes.md", "/save", "notes.md"),
        ("/export notes.md", "/save", "notes.md"),
        ("/QUIT", "/exit", ""),
        ("/bye ", "/exit", ""),
        ("/new", "/clear", ""),
        ("/regenerate high", "/retry", "high"),
    ],
)
def test_a_command_has_its_name_and_those_of_other_programs(line: str, name: str, argument: str) -> None:
    command, rest = all_commands().parse(line)
    assert (command.name, rest) == (name, argument)


def test_no_two_commands_share_a_name() -> None:
    names = [name for command in all_commands().commands for name in (command.name, *command.aliases)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("/rety", "no command /rety", "Did you mean /retry or /reset?"),
        ("/expo", "no command /expo", "Did you mean /export?"),
        ("/s", "no command /s", "/system or /set or /save?"),
        ("/export", "/save needs an argument: /save FILE", ""),
        ("/effort huge", "huge is not one of low, medium, high: /effort [low|medium|high]", ""),
        ("/quit now", "/exit takes no argument", ""),
        ("/qqqqqq", "no command /qqqqqq", "/help lists all commands."),
    ],
)
def test_an_error_says_what_was_meant(line: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        all_commands().parse(line)
    assert hint in (caught.value.hint or "")
