"""A server at a URL, over streamable HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

from ossctl.app.tools.mcp.server import McpServer

MAX_RESPONSE_BYTES = 16 * 1024 * 1024  # a result of 64 KiB is all that the model gets
_CONNECT_SECONDS = 20.0  # below the limit of a start, for the better message


class HttpServer:
    """The connection to a URL, which ends only when it is left. Used as a transport of `mcp.Client`."""

    def __init__(self, server: McpServer) -> None:
        self.ended = asyncio.Event()
        self._server = server
        self.refusal = ""

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[TransportStreams]:
        """Connect with the first message, and end the session. Raises HTTPError within exception groups."""
        client = httpx2.AsyncClient(
            headers=dict(self._server.headers),
            timeout=httpx2.Timeout(_CONNECT_SECONDS, read=None),  # calls have a limit of their own
            event_hooks={"response": [self._received]},
        )
        url = self._server.url
        async with (
            client,
            streamable_http_client(url, http_client=client, max_sse_event_size=MAX_RESPONSE_BYTES) as streams,
        ):
            yield streams

    def how_it_ended(self) -> str:
        """Nothing: what ends the connection is an error of its own."""
        return ""

    async def _received(self, response: httpx2.Response) -> None:
        """Note an error's status, which the package keeps to itself, and limit the size of an answer."""
        if response.is_error:
            self.refusal = f"{response.status_code} {response.reason_phrase}".strip()
        if response.headers.get("content-type", "").startswith("application/json"):
            response.stream = _Limited(response.stream)


class _Limited(httpx2.AsyncByteStream):
    """Ends a response that is too large with an error."""

    def __init__(self, stream: object) -> None:
        if not isinstance(stream, httpx2.AsyncByteStream):
            raise TypeError("the response is not asynchronous")
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_RESPONSE_BYTES
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise httpx2.StreamError(f"more than {MAX_RESPONSE_BYTES // 1024**2} MiB")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
