"""A server that runs on this machine: a message a line, on its stdin and stdout.

The `mcp` package has this as well, but without limits: a line of 100 MB would take it minutes, and what the
server prints on stderr would reach the terminal.
"""

import asyncio
import contextlib
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import mcp_types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client._transport import TransportStreams
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage

from ossctl.app.tools.mcp.last_lines import LastLines
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.processes import NEW_GROUP, kill_group, signal_group, startable

MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # of one line: a result of 64 KiB is all that the model gets
_MAX_NOISE = 1_000  # lines in a row that are no messages
_READ_BYTES = 16 * 1024
GRACE_SECONDS = 1.0  # to end by itself, then after SIGTERM
_POLL_SECONDS = 0.01

_Pipe = TypeVar("_Pipe")
_Incoming = MemoryObjectSendStream[SessionMessage | Exception]


class ServerProcess:
    """The process of a server, and the streams of its messages. Used as a transport of `mcp.Client`."""

    def __init__(self, server: McpServer) -> None:
        self.printed = LastLines()
        self.ended = asyncio.Event()
        self._fault = ""
        self._server = server
        self._process: Process | None = None

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[TransportStreams]:
        """Start the process, and end it with its children. Raises OSError if it cannot start."""
        self._process = process = await asyncio.create_subprocess_exec(
            *startable(self._server.argv),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=MAX_MESSAGE_BYTES,
            env={**get_default_environment(), **self._server.env},
            cwd=self._server.cwd,
            start_new_session=True,  # so that Ctrl-C does not reach it, and its children end with it
            creationflags=NEW_GROUP,
        )
        into, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, out_of = anyio.create_memory_object_stream[SessionMessage](0)
        tasks = [
            asyncio.create_task(self._read(process, into)),
            asyncio.create_task(self._write(_pipe(process.stdin), out_of)),
            asyncio.create_task(self._keep_errors(_pipe(process.stderr))),
        ]
        try:
            async with incoming, outgoing:
                yield incoming, outgoing
        finally:
            await self._stop(process, tasks)

    def how_it_ended(self) -> str:
        """Why there are no more messages, with what the program has printed last."""
        code = self._process.returncode if self._process else None
        if self._fault:
            how = self._fault
        elif code is None:
            how = "closed its output"
        else:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        printed = self.printed.text()
        return f"{how}:\n{printed}" if printed else how

    async def _read(self, process: Process, into: _Incoming) -> None:
        noise = 0
        async with into:
            try:
                while noise < _MAX_NOISE:
                    line = await _pipe(process.stdout).readuntil()
                    if (message := _message(line)) is None:
                        noise += bool(line.strip())
                        self.printed.add(line)
                    else:
                        noise = 0
                        await into.send(message)
                self._fault = "prints lines that are not MCP messages"
            except asyncio.LimitOverrunError:
                self._fault = f"sent a message of more than {MAX_MESSAGE_BYTES // 1024**2} MiB"
            except (asyncio.IncompleteReadError, OSError):
                await _exits(process)  # for its exit code
            except anyio.BrokenResourceError:
                return  # nobody listens: the connection is being closed
            if self._fault:
                kill_group(process)
            self.ended.set()

    async def _write(
        self, stdin: asyncio.StreamWriter, out_of: MemoryObjectReceiveStream[SessionMessage]
    ) -> None:
        async with out_of:
            with contextlib.suppress(OSError):
                async for session_message in out_of:
                    message = session_message.message
                    stdin.write(message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                    await stdin.drain()

    async def _keep_errors(self, stderr: asyncio.StreamReader) -> None:
        while data := await stderr.read(_READ_BYTES):
            self.printed.add(data)

    async def _stop(self, process: Process, tasks: Sequence[asyncio.Task[None]]) -> None:
        """End the process, by force if it does not end by itself, and what is left of its children."""
        with anyio.CancelScope(shield=True):
            _pipe(process.stdin).close()
            if not await _exits(process):
                signal_group(process, signal.SIGTERM)
                await _exits(process)
            kill_group(process)
            await _exits(process)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            _close_pipes(process)
            await asyncio.sleep(0)  # the event loop closes them


async def _exits(process: Process) -> bool:
    """Whether the process exits soon. Not by `wait()`, which waits for the pipes of its children too."""
    for _ in range(round(GRACE_SECONDS / _POLL_SECONDS)):
        if process.returncode is not None:
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


def _message(line: bytes) -> SessionMessage | None:
    """The message in a line. None if it is none: many programs print other things on stdout."""
    try:
        return SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        return None


def _pipe(pipe: _Pipe | None) -> _Pipe:
    if pipe is None:
        raise ValueError("the server's streams are not piped")
    return pipe


def _close_pipes(process: Process) -> None:
    """Close the pipes even if a child that has left the group holds them open."""
    if transport := getattr(process, "_transport", None):
        transport.close()
