"""MCP servers for tests, written with the `mcp` package: `python mcp_server.py KIND [PORT]`."""

import asyncio
import os
import sys
import time
from typing import Annotated, Any

import mcp_types
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

toys = MCPServer("toys", instructions="Toys for tests.")
calls = {"cancelled": 0, "running": 0, "most": 0}


class Answer(BaseModel):
    value: str


@toys.tool()
def add(a: Annotated[int, Field(description="The first number.")], b: int) -> int:
    """Add two numbers."""
    return a + b


@toys.tool()
def words(text: str) -> list[str]:
    """Split a text into its words."""
    return text.split()


@toys.tool(name="odd name!")
def odd() -> str:
    """Has a name that no model may call."""
    return "odd"


@toys.tool()
async def wait(seconds: float) -> str:
    """Wait, and note if that is cancelled."""
    calls["running"] += 1
    calls["most"] = max(calls["most"], calls["running"])
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        calls["cancelled"] += 1
        raise
    finally:
        calls["running"] -= 1
    return "waited"


@toys.tool()
async def block(seconds: float) -> str:
    """Block the whole server."""
    time.sleep(seconds)  # noqa: ASYNC251 (that is what it is for)
    return "blocked"


@toys.tool()
def counts() -> dict[str, int]:
    """How many calls were cancelled, and how many ran at the same time."""
    return {**calls, "pid": os.getpid()}


@toys.tool(structured_output=False)
def contents() -> list[Any]:
    """One content item of each kind."""
    return [
        mcp_types.TextContent(text="a text"),
        Image(data=b"\x89PNG", format="png"),
        mcp_types.ResourceLink(name="notes", uri="file:///notes.txt", description="all notes"),
        mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents(uri="memo:1", text="remember")),
        mcp_types.EmbeddedResource(resource=mcp_types.BlobResourceContents(uri="memo:2", blob="AAAA")),
    ]


@toys.tool()
def refuse() -> str:
    """Fail with a message for the model."""
    raise ToolError("there is no such city: Atlantis")


@toys.tool()
def flood(megabytes: int) -> str:
    """Return a large text."""
    return "x" * (megabytes * 1_000_000)


@toys.tool()
def mutter(lines: int) -> str:
    """Print lines on stdout that are no messages, and more on stderr."""
    for number in range(lines):
        os.write(1, b"{this is not JSON\n")
        os.write(2, f"line {number}\n".encode() * 10)
    return "muttered"


@toys.tool()
def variable(name: str) -> str:
    """The value of an environment variable of the server."""
    return os.environ.get(name, "(not set)")


@toys.tool()
async def ask(context: Context) -> str:
    """Ask the user for something."""
    answer = await context.elicit("Who are you?", Answer)
    return f"asked: {answer.action}"


def many() -> MCPServer:
    """500 functions."""
    server = MCPServer("many")
    for number in range(500):
        server.add_tool(
            add, name=f"add_{number:03}", description=f"Add two numbers, and {number} to their sum."
        )
    return server


if __name__ == "__main__":
    kind, *port = sys.argv[1:]
    server = many() if kind == "many" else toys
    if port:
        server.run("streamable-http", host="127.0.0.1", port=int(port[0]))
    else:
        server.run()
