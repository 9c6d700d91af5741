"""MCP servers that search documents: `python mcp_search_server.py full|alone [PORT]`."""

import asyncio
import json
import os
import sys
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

DOCUMENTS = {
    "doc-1": {
        "title": "Turku",
        "url": "https://example.org/turku",
        "text": "Turku is a city.\nIts castle is old.",
    },
    "doc-2": {"title": "Aura", "url": "https://example.org/turku", "text": "The Aura is a river."},
    "doc-3": {"title": "Long", "url": "", "text": "A long story. " * 200_000},
}

full = MCPServer("full")
alone = MCPServer("alone")


@full.tool(structured_output=False)
async def search(query: str) -> str:
    """The documents, as JSON text in the format of OpenAI's connectors."""
    if query == "slow":
        await asyncio.sleep(60)
    if query == "crash":
        os._exit(3)
    if query == "nothing":
        return json.dumps({"results": []})
    results = [{"id": key, "title": each["title"], "url": each["url"]} for key, each in DOCUMENTS.items()]
    return json.dumps({"results": results})


@full.tool()
def fetch(id: str) -> dict[str, Any]:  # noqa: A002 (the format's name)
    """A document, as structured content."""
    if id not in DOCUMENTS:
        raise ToolError(f"there is no document {id}")
    return {"id": id, **DOCUMENTS[id], "metadata": None}


@alone.tool()
def web_search(query: str, count: int = 10) -> list[dict[str, str]] | str:
    """Documents with their texts, or a text."""
    if query == "plain":
        return "Turku: a city.\nAura: a river."
    return list(DOCUMENTS.values())[:count]


@alone.tool()
def search_by_date(date: str) -> str:
    """Is not a search for words."""
    return date


if __name__ == "__main__":
    kind, *port = sys.argv[1:]
    server = {"full": full, "alone": alone}[kind]
    if port:
        server.run("streamable-http", host="127.0.0.1", port=int(port[0]))
    else:
        server.run()
