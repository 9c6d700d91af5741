"""All servers of a program, on one event loop, for threads that wait for them."""

import asyncio
import atexit
import logging
import signal
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from signal import SIGINT, SIGTERM
from typing import Any, NoReturn, TypeVar

import mcp_types

from ossctl.app.tools.mcp.connection import Connection, ServerFault
from ossctl.app.tools.mcp.event_loop import EventLoop
from ossctl.app.tools.mcp.naming import ServerTool
from ossctl.app.tools.mcp.results import text_of
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.mcp.titles import without_titles
from ossctl.app.tools.source import ToolOutcome, failed
from ossctl.dialect import Tool, ToolCall
from ossctl.errors import Interrupted, OssctlError

_POLL_SECONDS = 0.1
_T = TypeVar("_T")


class ServersFailed(OssctlError):
    """Some servers cannot start. The others are `started`."""

    def __init__(self, message: str, hint: str, started: Sequence[tuple[McpServer, list[Tool]]]) -> None:
        super().__init__(message, hint)
        self.started = started


class ServerPool:
    """The servers, of which each runs once and answers any number of calls at the same time."""

    def __init__(self, servers: Sequence[McpServer]) -> None:
        for name in ("mcp", "client"):  # the package's loggers, which write to stderr what our errors say
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._loop = EventLoop()
        atexit.register(self.close)  # a server that waits for its own work does not notice that we have ended
        self.connections = {server.name: Connection(server) for server in servers}

    def start(self) -> list[tuple[McpServer, list[Tool]]]:
        """Start all servers side by side; each has its functions. Raises ServersFailed."""
        connections = list(self.connections.values())
        faults = self._wait(_start(connections))
        started = [(each.server, _tools(each)) for each in connections if each not in faults]
        if faults:
            lines = [line for fault in faults.values() for line in fault.splitlines()]
            raise ServersFailed(lines[0].rstrip(":"), "\n".join(lines[1:]), started)
        return started

    def call(
        self, tool: ServerTool, call: ToolCall, arguments: dict[str, Any], seconds: float
    ) -> Future[ToolOutcome]:
        """Start a call. Cancelling the future cancels it."""
        return self._loop.submit(_outcome(self.connections[tool.server.name], tool, call, arguments, seconds))

    def ask(
        self, server: McpServer, name: str, arguments: dict[str, Any], seconds: float
    ) -> Future[mcp_types.CallToolResult]:
        """Start a call for a program that reads the result itself. Its failure is a ServerFault."""
        return self._loop.submit(self.connections[server.name].call(name, arguments, seconds))

    def close(self) -> None:
        """End all servers, side by side. Called at the latest when the program ends."""
        self._wait(_close(list(self.connections.values())))
        self._loop.close()
        atexit.unregister(self.close)  # not if Ctrl-C has stopped this

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of `work`. Ctrl-C cancels it."""
        future = self._loop.submit(work)
        try:
            with _raised_signals():
                while not wait([future], _POLL_SECONDS).done:
                    pass
            return future.result()
        finally:
            future.cancel()


@contextmanager
def _raised_signals() -> Iterator[None]:
    """Raise Interrupted at a signal that would end the program at once, and leave the servers running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    fatal = [each for each in (SIGINT, SIGTERM) if signal.getsignal(each) is signal.SIG_DFL]
    for each in fatal:
        signal.signal(each, _interrupt)
    try:
        yield
    finally:
        for each in fatal:
            signal.signal(each, signal.SIG_DFL)


def _interrupt(signum: int, _frame: object) -> NoReturn:
    raise Interrupted(signum)


async def _start(connections: Sequence[Connection]) -> dict[Connection, str]:
    """Start the servers. Returns what is wrong with those that cannot start."""
    results = await asyncio.gather(*(each.start() for each in connections), return_exceptions=True)
    faults: dict[Connection, str] = {}
    for connection, result in zip(connections, results, strict=True):
        if isinstance(result, ServerFault):
            faults[connection] = f"the MCP server {connection.server.name} {result}"
        elif isinstance(result, BaseException):
            raise result
    return faults


async def _close(connections: Sequence[Connection]) -> None:
    await asyncio.gather(*(each.close() for each in connections))


async def _outcome(
    connection: Connection, tool: ServerTool, call: ToolCall, arguments: dict[str, Any], seconds: float
) -> ToolOutcome:
    try:
        result = await connection.call(tool.name, arguments, seconds)
    except ServerFault as fault:
        return failed(call, f"the MCP server {tool.server.name} {fault}")
    text = text_of(result)
    return failed(call, text) if result.is_error else ToolOutcome(call, text, ok=True)


def _tools(connection: Connection) -> list[Tool]:
    return [_tool(tool) for tool in connection.listed if connection.server.offers(tool.name)]


def _tool(tool: mcp_types.Tool) -> Tool:
    return Tool(tool.name, tool.description or tool.title or "", without_titles(tool.input_schema, tool.name))
