"""The functions' names for the model, and which of them it is offered."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ossctl.app.tools.mcp.server import McpServer, matches
from ossctl.dialect import Tool
from ossctl.errors import UsageError

_MAX_NAME = 64  # characters, of OpenAI's API and of most models' formats
_MAX_UNCHOSEN = 64  # functions that are offered without a choice: more cost each prompt thousands of tokens
_BYTES_PER_TOKEN = 4  # of JSON, about


@dataclass(frozen=True)
class ServerTool:
    """A function of a server. `tool` has the name for the model, `name` is that on the server."""

    server: McpServer
    name: str
    tool: Tool


def named_for_model(listed: Sequence[tuple[McpServer, Sequence[Tool]]]) -> dict[str, ServerTool]:
    """Name all functions `server_tool`, each once: a name that is taken gets a number."""
    named: dict[str, ServerTool] = {}
    for server, tools in listed:
        for tool in tools:
            name = _free(re.sub(r"[^A-Za-z0-9_-]", "_", f"{server.name}_{tool.name}"), named)
            named[name] = ServerTool(server, tool.name, Tool(name, tool.description, tool.parameters))
    return named


def offered(named: Mapping[str, ServerTool], patterns: Sequence[str]) -> dict[str, ServerTool]:
    """The functions whose names match one of `patterns`, all if there are none.

    Raises UsageError if a pattern matches nothing, or if there are too many without a choice.
    """
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in named):
            raise UsageError(f"--mcp-tools {pattern}: there is no such function", _names(named))
    chosen = {name: tool for name, tool in named.items() if not patterns or matches(name, patterns)}
    if len(chosen) > _MAX_UNCHOSEN and not patterns:
        raise UsageError(
            f"{len(chosen):,} functions of MCP servers take about {_tokens(chosen):,} tokens of every prompt",
            f"Choose some with --mcp-tools 'GLOB', or all with '*'. {_names(chosen)}",
        )
    return chosen


def _tokens(named: Mapping[str, ServerTool]) -> int:
    size = sum(len(msgspec.json.encode(tool.tool)) for tool in named.values())
    return size // _BYTES_PER_TOKEN // 100 * 100


def _names(named: Mapping[str, ServerTool]) -> str:
    shown = list(named)[:8]
    return f"The functions are {', '.join(shown)}{', …' if len(named) > len(shown) else ''}." if named else ""


def _free(name: str, taken: Mapping[str, object]) -> str:
    number, free = 2, name[:_MAX_NAME]
    while free in taken:
        suffix = f"_{number}"
        free, number = name[: _MAX_NAME - len(suffix)] + suffix, number + 1
    return free
