"""Commands as the user has written them, split into words."""

import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ossctl.app.tools.processes import argv_of, windows_words
from ossctl.errors import UsageError


@pytest.mark.parametrize(
    ("command", "words"),
    [  # from Microsoft's "Parsing C++ command-line arguments"
        (r'"a b c" d e', ["a b c", "d", "e"]),
        (r'"ab\"c" "\\" d', ['ab"c', "\\", "d"]),
        (r'a\\\b d"e f"g h', [r"a\\\b", "de fg", "h"]),
        (r"a\\\"b c d", [r"a\"b", "c", "d"]),
        (r'a\\\\"b c" d e', [r"a\\b c", "d", "e"]),
        (r'a"b"" c d"', ['ab" c d']),
        # what users write
        (
            r'"C:\Program Files\nodejs\npx.cmd" -y "C:\My Files"',
            [r"C:\Program Files\nodejs\npx.cmd", "-y", r"C:\My Files"],
        ),
        (r"python C:\tools\weather.py", ["python", r"C:\tools\weather.py"]),
        ('  sh   "" \t x ', ["sh", "", "x"]),
        ("it's", ["it's"]),
        ("", []),
    ],
)
def test_a_command_on_windows_is_split_as_its_programs_do(command: str, words: list[str]) -> None:
    assert windows_words(command) == words


@given(st.lists(st.text('ab \\"\t\u3000\n')))
@example(["a\\", "\\ \\", '"', ""])
def test_words_on_windows_are_those_that_were_joined(words: list[str]) -> None:
    assert windows_words(subprocess.list2cmdline(words)) == words


def test_a_quote_that_is_not_closed_is_an_error() -> None:
    with pytest.raises(ValueError, match="closing"):
        windows_words('a "b c')
    with pytest.raises(UsageError, match="--tool-cmd x: No closing quotation"):
        argv_of('a "b c', "--tool-cmd x")
