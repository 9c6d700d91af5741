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
        ("/effort LOW", "/effort", "low"),
        ("/system LOW", "/system", "LOW"),
    ],
)
def test_a_command_has_its_name_and_those_of_other_programs(line: str, name: str, argument: str) -> None:
    found = all_commands().parse(line)
    assert found is not None
    assert (found[0].name, found[1]) == (name, argument)


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd is what?",
        "/etc",
        "//comment",
        "/* a comment */",
        "/^[a-z]+$/",
        "/s/a/b/",
        "/no_think",
        "/no_think What is 2 + 2?",
        "/think",
        "/system_override",
        "/help\nme",
        "/usr/lib/python3/foo.py\n  line 3\nError: x",
        "/qqqqqq",
        "/tmp is full",
        "/home",
        " /help",
        "/save\u2028notes.md",
        "/sävé",
        "/help,",
        "",
    ],
)
def test_everything_else_that_starts_with_a_slash_is_a_message(text: str) -> None:
    assert all_commands().parse(text) is None


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
        ("/hlep", "no command /hlep", "Did you mean /help"),
        ("/stat please", "no command /stat", "Did you mean /stats?"),
        ("/", "no command /", "/help lists all commands. Start with a space to send it as a message."),
    ],
)
def test_an_error_says_what_was_meant(line: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        all_commands().parse(line)
    assert hint in (caught.value.hint or "")
