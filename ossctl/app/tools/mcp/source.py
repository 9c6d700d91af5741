"""The functions of MCP servers, as the model is offered them."""

import importlib.util
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from ossctl.app.tools.arguments import arguments_of
from ossctl.app.tools.mcp.event_loop import result_while
from ossctl.app.tools.mcp.naming import ServerTool, named_for_model, offered
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.question import call_text
from ossctl.app.tools.source import KeepGoing, PartlyStarted, ToolOutcome, failed, stopped
from ossctl.dialect import Tool, ToolCall
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.tools.mcp.pool import ServerPool


@dataclass(frozen=True)
class ServerStatus:
    """A server for the user. `tools` are its functions that the model is offered, once it has started."""

    name: str
    shown: str
    state: str
    tools: tuple[Tool, ...]
    error: str


class McpSource:
    """Functions of servers, which start when they are asked for them and serve all conversations.

    A call takes at most `seconds`. The model is offered the functions that match one of `patterns`; all, if
    there are no patterns and not too many functions.
    """

    concurrent = True

    def __init__(self, servers: Sequence[McpServer], seconds: float, patterns: Sequence[str] = ()) -> None:
        if importlib.util.find_spec("mcp") is None:
            raise UsageError("MCP servers need the package mcp", 'Run: pip install "ossctl[mcp]"')
        self._servers = tuple(servers)
        self._seconds = seconds
        self._patterns = tuple(patterns)
        self._lock = Lock()
        self._pool: ServerPool | None = None
        self._offered: Mapping[str, ServerTool] | None = None

    def tools(self) -> Sequence[Tool]:
        return [each.tool for each in self._named().values()]

    def describe(self, name: str, /) -> str:
        server = self._named()[name].server
        return f"MCP server {server.name}: {server.shown}, at most {self._seconds:g} s"

    def notes(self) -> Sequence[str]:
        """The servers that run, and how many functions of each are offered."""
        counts = ((server.name, len(server.tools)) for server in self.servers() if not server.error)
        return [f"MCP server {name}: {count:,} function{'s' * (count != 1)}." for name, count in counts]

    def open(self) -> "McpSession":
        return McpSession(self)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()

    def servers(self) -> list[ServerStatus]:
        """All servers, with the functions of those that have started."""
        named, pool = self._offered or {}, self._pool
        return [
            ServerStatus(
                name=server.name,
                shown=server.shown,
                state=str(pool.connections[server.name].state) if pool else "not started",
                tools=tuple(each.tool for each in named.values() if each.server is server),
                error=pool.connections[server.name].error if pool else "",
            )
            for server in self._servers
        ]

    def allows(self, name: str) -> bool:
        """Whether a function may run without asking."""
        each = self._named()[name]
        return each.server.allows(each.name)

    def start(self, call: ToolCall, arguments: dict[str, Any]) -> "Future[ToolOutcome]":
        """Start a call. Cancelling the future cancels it."""
        return self._running().call(self._named()[call.name], call, arguments, self._seconds)

    def _named(self) -> Mapping[str, ServerTool]:
        with self._lock:
            if self._offered is None:
                self._offered = self._start()
            return self._offered

    def _start(self) -> Mapping[str, ServerTool]:
        """Start the servers. Raises OssctlError, and PartlyStarted once if some have started."""
        from ossctl.app.tools.mcp.pool import ServersFailed

        try:
            return offered(named_for_model(self._running().start()), self._patterns)
        except ServersFailed as error:
            with suppress(UsageError):  # a pattern may be for a server that has failed
                self._offered = offered(named_for_model(error.started), self._patterns)
            if not self._offered:
                raise
            raise PartlyStarted(error, [each.tool for each in self._offered.values()]) from None

    def _running(self) -> "ServerPool":
        if self._pool is None:
            from ossctl.app.tools.mcp.pool import ServerPool

            self._pool = ServerPool(self._servers)
        return self._pool


@dataclass(frozen=True)
class McpSession:
    """A conversation with the servers, which remember nothing of it."""

    source: McpSource

    def question(self, call: ToolCall) -> str | None:
        return None if self.source.allows(call.name) else call_text(call)

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        try:
            arguments = arguments_of(call, dict[str, Any])
        except ValueError as error:
            return failed(call, str(error))
        if not keep_going():
            return stopped(call)
        try:
            return result_while(keep_going, self.source.start(call, arguments))
        except CancelledError:
            return stopped(call)

    def close(self) -> None:
        """Nothing is left running: the servers serve other conversations."""
