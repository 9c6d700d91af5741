"""Shows MCP servers and their functions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ossctl.app.tools.mcp.source import McpSource, ServerStatus
from ossctl.app.tools.question import visible
from ossctl.dialect import Tool

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl


def mcp(repl: "Repl", argument: str) -> None:
    """`/mcp [WORDS]`"""
    statuses = [
        status
        for source in repl.chat.tools.sources
        if isinstance(source, McpSource)
        for status in source.servers()
    ]
    if not statuses:
        repl.say("There are no MCP servers. `ossctl chat --mcp COMMAND` starts one.")
    elif words := argument.lower().split():
        found = [tool for status in statuses for tool in status.tools if _has(tool, words)]
        for tool in found:
            repl.say(f"{tool.name}: {_first_line(tool)}")
        if not found:
            repl.say("No function matches. Servers that have not started are not searched.")
    else:
        for status in statuses:
            for line in _lines(status):
                repl.say(line)


def _lines(status: ServerStatus) -> Iterator[str]:
    count = f", {len(status.tools)} function{'s' * (len(status.tools) != 1)}" if status.tools else ""
    yield f"{status.name}: {status.state}{count} ({status.shown})"
    yield from (f"  {line}" for line in status.error.splitlines())
    yield from (f"  {tool.name}: {_first_line(tool)}" for tool in status.tools)


def _has(tool: Tool, words: list[str]) -> bool:
    text = f"{tool.name} {tool.description}".lower()
    return all(word in text for word in words)


def _first_line(tool: Tool) -> str:
    """What the function does, without characters that would control the terminal."""
    return visible(tool.description.strip().partition("\n")[0]) or "no description"
