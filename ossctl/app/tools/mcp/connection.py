"""The connection to one server: made when it is needed, and again after it has broken."""

import asyncio
import math
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import anyio
import httpx2
import mcp_types
from mcp import Client, MCPError
from pydantic import ValidationError

from ossctl import __version__
from ossctl.app.tools.mcp.http import HttpServer
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.mcp.stdio import ServerProcess

START_SECONDS = 30.0  # until a server has listed its functions; llama-server's limit
_ANSWER_SECONDS = 2.0  # to show that it still answers, after a call that did not end
_END_SECONDS = 5.0  # for a server that has broken to be ended
_MAX_PAGES = 100  # of a list of functions
_SESSION_LOST = "Session terminated"  # the package's words for HTTP 404
_REFUSED = "Server returned an error response"  # and for other errors of HTTP

# What the package raises if a server, its answers or the way to it are at fault.
_FAULTS = (MCPError, ValidationError, RuntimeError, ValueError, httpx2.HTTPError, OSError, ExceptionGroup)


class ServerFault(Exception):
    """A server could not be started or asked. The message follows the server's name."""


class State(StrEnum):
    """What a server is doing, for the user."""

    NOT_STARTED = "not started"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    ENDED = "ended"


class Connection:
    """A server that starts with the first request. All methods are for the event loop's thread."""

    def __init__(self, server: McpServer) -> None:
        self.server = server
        self.state = State.NOT_STARTED
        self.error = ""
        self.listed: tuple[mcp_types.Tool, ...] = ()
        self._way: ServerProcess | HttpServer | None = None
        self._client: asyncio.Future[Client] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._lock = asyncio.Lock()
        self._unanswered = False

    async def start(self) -> Client:
        """Start the server unless it runs. Raises ServerFault."""
        async with self._lock:
            if self._unanswered:
                await self._end_if_stuck()
            if self._keeper is None or self._keeper.done() or self._leave.is_set():
                await self._end()
                self._begin()
            client = self._client
        if client is None:
            raise ServerFault("was not started")
        return await asyncio.shield(client)

    async def call(self, tool: str, arguments: dict[str, Any], seconds: float) -> mcp_types.CallToolResult:
        """Call a function. Raises ServerFault. A call that may have run is not repeated.

        Cancelling this cancels the call on the server.
        """
        with anyio.move_on_after(seconds):
            try:
                return await self._called(tool, arguments)
            except asyncio.CancelledError:
                self._unanswered = True
                raise
        raise ServerFault(self._masked(f"did not answer within {seconds:g} s", self._printed()))

    async def close(self) -> None:
        """End the server."""
        if self._client is not None and not self._client.done() and self._keeper is not None:
            self._keeper.cancel()
        await self._end()

    async def _called(self, tool: str, arguments: dict[str, Any]) -> mcp_types.CallToolResult:
        client = await self.start()
        try:
            return await client.call_tool(tool, arguments)
        except MCPError as error:
            if error.message != _SESSION_LOST:  # else the server has forgotten us, and not run it
                raise await self._fault(error) from None
        except _FAULTS as error:
            raise await self._fault(error) from None
        await self._end()
        client = await self.start()
        try:
            return await client.call_tool(tool, arguments)
        except _FAULTS as error:
            raise await self._fault(error) from None

    def _begin(self) -> None:
        self._leave = asyncio.Event()
        self.state, self.error = State.STARTING, ""
        self._client = asyncio.get_running_loop().create_future()
        self._client.add_done_callback(_retrieved)
        self._way = HttpServer(self.server) if self.server.url else ServerProcess(self.server)
        self._keeper = asyncio.create_task(self._keep(self._way, self._client), name=self.server.name)

    async def _keep(self, way: ServerProcess | HttpServer, started: asyncio.Future[Client]) -> None:
        """Hold the connection until it is to be left or has broken."""
        why = "was stopped"
        try:
            with anyio.move_on_after(START_SECONDS) as limit:
                async with Client(way.streams(), client_info=_INFO, cache=None) as client:
                    self.listed = await _all_tools(client)
                    limit.deadline = math.inf
                    self.state = State.RUNNING
                    started.set_result(client)
                    await self._until_left(way)
            if limit.cancelled_caught:
                why = self._masked(f"did not answer within {START_SECONDS:g} s", self._printed())
            elif way.ended.is_set():
                why = self._masked(way.how_it_ended())
        except _FAULTS as error:
            ended = way.how_it_ended() if _is_closed(error) else ""
            why = self._masked(ended or _reason(error, way))
        finally:
            self._kept(started, why)

    def _kept(self, started: asyncio.Future[Client], why: str) -> None:
        """Note why the connection has ended."""
        self.error = "" if self._leave.is_set() else why
        self.state = State.ENDED if started.done() else State.FAILED
        self._leave.set()
        if not started.done():
            started.set_exception(ServerFault(why))

    async def _until_left(self, way: ServerProcess | HttpServer) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._leave, way.ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _end_if_stuck(self) -> None:
        """End the server if it does not answer any more."""
        self._unanswered = False
        if self._client is None or not self._client.done() or self._client.exception():
            return
        try:
            with anyio.fail_after(_ANSWER_SECONDS):
                await self._client.result().list_tools()
        except (*_FAULTS, TimeoutError):
            await self._end()

    async def _end(self) -> None:
        self._leave.set()
        if self._keeper is not None:
            await asyncio.wait([self._keeper])

    async def _fault(self, error: Exception) -> ServerFault:
        """Why a call has failed: if the connection has broken, why it has."""
        if _is_closed(error) and self._keeper is not None:
            await asyncio.wait([self._keeper], timeout=_END_SECONDS)
            if self.error:
                return ServerFault(self.error)
        return ServerFault(self._masked(_reason(error, self._way)))

    def _printed(self) -> str:
        return self._way.printed.text() if isinstance(self._way, ServerProcess) else ""

    def _masked(self, *lines: str) -> str:
        return self.server.masked(":\n".join(filter(None, lines)))


_INFO = mcp_types.Implementation(name="ossctl", version=__version__)


async def _all_tools(client: Client) -> tuple[mcp_types.Tool, ...]:
    tools: list[mcp_types.Tool] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        if (cursor := page.next_cursor) is None:
            break
    return tuple(tools)


def _retrieved(started: asyncio.Future[Client]) -> None:
    """Look at the exception, which asyncio would report otherwise if nobody waits any more."""
    if not started.cancelled():
        started.exception()


def _is_closed(error: Exception) -> bool:
    return any(
        isinstance(leaf, MCPError) and leaf.code == mcp_types.CONNECTION_CLOSED for leaf in _leaves(error)
    )


def _reason(error: Exception, way: ServerProcess | HttpServer | None) -> str:
    """What an error says."""
    leaf = next(_leaves(error))
    if isinstance(way, HttpServer) and str(leaf) == _REFUSED:
        return f"answered {way.refusal}"
    if isinstance(leaf, ValidationError):
        return "sent a response that does not follow the protocol"
    if isinstance(leaf, OSError):
        return f"cannot be started: {leaf.strerror or leaf}{f': {leaf.filename}' if leaf.filename else ''}"
    if isinstance(leaf, httpx2.HTTPError):
        return f"cannot be reached: {leaf or type(leaf).__name__}"
    return f"answered: {leaf}" if str(leaf) else f"failed with {type(leaf).__name__}"


def _leaves(error: Exception) -> Iterator[Exception]:
    """The errors in a group of them, or the error itself."""
    if isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
