#!/usr/bin/env bash
# The client of mcp 2.3.0 and a server at a URL that cannot answer. If the server, or a proxy before it, answers 401, 403
# or 503 with a plain text, the error is "Server returned an error response" for all of them: neither the status nor the
# text is in the exception or in what it was raised from. 404 alone has words of its own. Whoever wants to tell a wrong
# token from a service that is down has to look at the responses of the HTTP client that is handed to the transport.
#
# Seen:
#   401: MCPError: Server returned an error response
#   403: MCPError: Server returned an error response
#   503: MCPError: Server returned an error response
#   404: MCPError: Not Found
#   the status or the text anywhere in the chain of exceptions: False
# Fails if any of these changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q --no-cache-dir install mcp==2.3.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mcp import Client


class Status(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"wrong token" if self.path != "/503" else b"down for maintenance"
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_DELETE = do_POST

    def log_message(self, *_):
        pass


async def error(url):
    try:
        async with Client(url) as client:
            await client.list_tools()
    except BaseException as raised:
        while isinstance(raised, BaseExceptionGroup) and len(raised.exceptions) == 1:
            raised = raised.exceptions[0]
        return raised
    raise AssertionError("no error")


found, told = {}, False
server = ThreadingHTTPServer(("127.0.0.1", 0), Status)
threading.Thread(target=server.serve_forever, daemon=True).start()
for status in ("401", "403", "503", "404"):
    raised = asyncio.run(error(f"http://127.0.0.1:{server.server_port}/{status}"))
    found[status] = f"{type(raised).__name__}: {raised}"
    while raised is not None and status != "404":
        words = f"{raised!r} {vars(raised)}"
        told = told or status in words.replace(f"/{status}", "") or "token" in words or "maintenance" in words
        raised = raised.__cause__ or raised.__context__
for name, text in found.items():
    print(f"{name}: {text}")
print("the status or the text anywhere in the chain of exceptions:", told)
assert not told
same = "MCPError: Server returned an error response"
assert found == {
    "401": same,
    "403": same,
    "503": same,
    "404": "MCPError: Not Found",
}, found
PYTHON
