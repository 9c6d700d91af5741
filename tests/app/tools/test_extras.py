"""Every extra that a tool needs and that is not installed: an error with the command that adds it."""

import sys

import pytest

from ossctl.app.tools.options import ToolOptions
from ossctl.errors import UsageError


@pytest.mark.parametrize(
    ("missing", "options", "message", "extra"),
    [
        ("mcp", ToolOptions(mcp=["python x.py"]), "MCP servers need the package mcp", "mcp"),
        ("mcp", ToolOptions(browser="mcp:python x.py"), "MCP servers need the package mcp", "mcp"),
        (
            "pydantic_monty",
            ToolOptions(python_in="monty"),
            "--python-in monty: pydantic-monty is not",
            "python",
        ),
        ("ddgs", ToolOptions(browser="web"), "--browser web needs the package ddgs", "web"),
        ("trafilatura", ToolOptions(browser="web"), "--browser web needs the package trafilatura", "web"),
    ],
)
def test_a_missing_extra_is_one_line_and_how_to_add_it(
    monkeypatch: pytest.MonkeyPatch, missing: str, options: ToolOptions, message: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError) as error:
        assert options.toolbox().offered
    assert error.value.message.startswith(message)
    assert error.value.hint == f'Run: pip install "ossctl[{extra}]"'
