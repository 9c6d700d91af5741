"""MCP servers at URLs: one that a test controls, and one of the `mcp` package."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import pytest

from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.mcp.source import McpSource
from ossctl.app.tools.source import ToolOutcome
from ossctl.dialect import ToolCall
from ossctl.errors import OssctlError
from tests import support

TOYS = (sys.executable, str(Path(next(iter(support.__path__))) / "mcp_server.py"), "toys")
HEADERS = {"Authorization": "Bearer t0ken-value"}
TOOLS = ["headers", "large", "garbage", "redirect"]


class Protocol(BaseHTTPRequestHandler):
    """A server of 2025 with sessions, which it forgets when `session` changes."""

    protocol_version = "HTTP/1.1"
    session = 1

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        message = json.loads(self.rfile.read(length))
        if self.headers.get("Authorization") != HEADERS["Authorization"]:
            self._answer(401, {})
        elif message["method"] == "initialize":
            self._result(message, {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                                   "serverInfo": {"name": "web", "version": "1"}})  # fmt: skip
        elif self.headers.get("Mcp-Session-Id") != str(self.session):
            self._answer(404, {})
        elif message["method"] == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
            self._result(message, {"tools": tools})
        elif message["method"] == "tools/call":
            self._call(message, message["params"]["name"])
        else:
            self._answer(202, None)

    def do_GET(self) -> None:
        self._answer(405, None)

    def do_DELETE(self) -> None:
        self._answer(200, None)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def _call(self, message: Any, name: str) -> None:
        if name == "garbage":
            self._answer(200, [1, 2])
        elif name == "redirect":
            self._answer(307, None, Location="http://example.com/")
        else:
            text = "x" * 20_000_000 if name == "large" else f"session {self.session}"
            self._result(message, {"content": [{"type": "text", "text": text}]})

    def _result(self, message: Any, result: Any) -> None:
        self._answer(200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _answer(self, code: int, content: Any, **headers: str) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(code)
        sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        for name, value in {**sent, "Mcp-Session-Id": str(self.session)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def url() -> Iterator[str]:
    Protocol.session = 1
    with ThreadingHTTPServer(("127.0.0.1", 0), Protocol) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/mcp"
        server.shutdown()


def outcome_of(source: McpSource, name: str, **arguments: object) -> ToolOutcome:
    return source.open().run(ToolCall(name, json.dumps(arguments)), lambda: True)


def test_a_server_at_a_url_gets_the_headers_and_a_lost_session_is_renewed(url: str) -> None:
    with closing(McpSource([McpServer("web", url=url, headers=HEADERS)], 20.0)) as source:
        assert outcome_of(source, "web_headers").result == "session 1"
        Protocol.session = 2
        assert outcome_of(source, "web_headers").result == "session 2"


@pytest.mark.parametrize(
    ("name", "fault"),
    [("web_large", "more than 16 MiB"), ("web_garbage", "Failed to parse"), ("web_redirect", "Redirect to")],
)
def test_an_answer_that_cannot_be_used_fails_the_call_only(url: str, name: str, fault: str) -> None:
    with closing(McpSource([McpServer("web", url=url, headers=HEADERS)], 5.0)) as source:
        outcome = outcome_of(source, name)
        assert not outcome.ok
        assert fault in outcome.result
        assert outcome_of(source, "web_headers").ok


def test_a_server_that_refuses_us_is_an_error_without_our_token(url: str) -> None:
    source = McpSource([McpServer("web", url=url, headers={"Authorization": "Bearer wr0ng-one"})], 20.0)
    with (
        closing(source),
        pytest.raises(OssctlError, match="the MCP server web answered 401 Unauthorized") as error,
    ):
        source.tools()
    assert "wr0ng" not in error.value.message + error.value.hint


@pytest.mark.slow
def test_a_server_that_ends_fails_the_call_and_is_found_again_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with closing(McpSource([McpServer("toys", url=f"http://127.0.0.1:{port}/mcp")], 20.0)) as source:
        with _serving(port):
            assert outcome_of(source, "toys_add", a=1, b=2).result == "3"
            assert "elicitation" in outcome_of(source, "toys_ask").result
        assert "the MCP server toys cannot be reached" in outcome_of(source, "toys_add", a=1, b=2).result
        assert "the MCP server toys cannot be reached" in outcome_of(source, "toys_add", a=1, b=2).result
        with _serving(port):
            assert outcome_of(source, "toys_add", a=1, b=2).result == "3"


@contextmanager
def _serving(port: int) -> Iterator[None]:
    with subprocess.Popen([*TOYS, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while not _listens(port):
                sleep(0.1)
            yield
        finally:
            server.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
