"""Names of MCP servers' functions for the model, and the choice among many."""

import pytest

from ossctl.app.tools.mcp.naming import named_for_model, offered
from ossctl.app.tools.mcp.server import McpServer
from ossctl.dialect import Tool
from ossctl.errors import UsageError


def test_names_have_64_plain_characters_and_are_different() -> None:
    long, server = "é" * 80, McpServer("a b")
    named = named_for_model([(server, [Tool("x.y"), Tool("x/y"), Tool("x_y_2"), Tool(long), Tool(long)])])
    assert list(named)[:3] == ["a_b_x_y", "a_b_x_y_2", "a_b_x_y_2_2"]
    assert {len(name) for name in list(named)[3:]} == {64}
    assert [each.name for each in named.values()] == ["x.y", "x/y", "x_y_2", long, long]
    assert {name: each.tool.name for name, each in named.items()} == {name: name for name in named}


def test_many_functions_are_offered_only_if_they_are_chosen() -> None:
    named = named_for_model([(McpServer("many"), [Tool(f"t{n}", "x" * 100) for n in range(100)])])
    with pytest.raises(UsageError, match=r"100 functions .* about 4,\d00 tokens of every prompt") as error:
        offered(named, [])
    assert "--mcp-tools" in error.value.hint
    assert list(offered(named, ["*_t7", "many_t9?"])) == ["many_t7", *(f"many_t{n}" for n in range(90, 100))]
    assert len(offered(named, ["*"])) == 100
    with pytest.raises(UsageError, match=r"--mcp-tools x\*: there is no such function"):
        offered(named, ["x*"])
