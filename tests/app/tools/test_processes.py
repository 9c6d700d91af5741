"""Commands as the user has written them, split into words."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ossctl.app.bench import server_process
from ossctl.app.sites import process as site_process
from ossctl.app.tools import command
from ossctl.app.tools.mcp import stdio
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.processes import argv_of, windows_words
from ossctl.app.tools.python import process as python_process
from ossctl.app.tools.python.interpreter import Limits
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


async def start_mcp_server() -> None:
    async with stdio.ServerProcess(McpServer("old", (sys.executable, "-c", ""))).streams():
        pass


PROGRAM = (sys.executable, "-c", "")
STARTS: dict[object, Callable[[], object]] = {
    command: lambda: command.run_program(PROGRAM, b"", 1.0, lambda: True),
    stdio: lambda: asyncio.run(start_mcp_server()),
    python_process: lambda: python_process.ProcessInterpreter(PROGRAM, None, Limits(1.0)),
    server_process: lambda: server_process.serving(PROGRAM).__enter__(),
    site_process: lambda: site_process.ProcessSite(None, PROGRAM).start(lambda _: None),  # type: ignore[arg-type]
}


@pytest.mark.skipif(sys.platform == "win32", reason="there it is no error")
@pytest.mark.parametrize("module", STARTS, ids=lambda module: module.__name__)
def test_ctrl_c_on_windows_does_not_reach_a_program_that_we_end(
    module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEW_GROUP", 0x200)
    with pytest.raises(ValueError, match="creationflags is only supported on Windows"):
        STARTS[module]()
