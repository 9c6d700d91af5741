"""The documents of an MCP server with the functions `search` and `fetch` of OpenAI's connectors."""

import importlib.util
from collections.abc import Container, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from ossctl.app.tools.browser.documents import MAX_CHARACTERS
from ossctl.app.tools.browser.library import Hit, Hits, PageError
from ossctl.app.tools.browser.page import Page, continued, readable, title_line
from ossctl.app.tools.browser.server_results import (
    Document,
    answer_of,
    document_of,
    documents_of,
    plain_text,
)
from ossctl.app.tools.mcp.event_loop import result_while
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.source import KeepGoing
from ossctl.dialect import Tool
from ossctl.errors import OssctlError, UsageError

if TYPE_CHECKING:
    from mcp_types import CallToolResult

    from ossctl.app.tools.mcp.pool import ServerPool

_SEARCH, _FETCH = "search", "fetch"
_MAX_KNOWN = 2000  # results of searches that can be opened again
_MAX_NAMED = 20  # functions, in an error
_NEEDS = "--browser needs search(query) and, to open whole documents, fetch(id)."


class ServerLibrary:
    """The documents that a server finds. A page's URL is what the server says; if nothing, its id.

    Without `fetch`, a page is the text of its result. A call takes at most `seconds`.
    """

    def __init__(self, server: McpServer, seconds: float) -> None:
        """Nothing is started yet. Raises UsageError if a library is missing."""
        if importlib.util.find_spec("mcp") is None:
            raise UsageError("MCP servers need the package mcp", 'Run: pip install "ossctl[mcp]"')
        self._server = server
        self._seconds = seconds
        self._lock = Lock()
        self._pool: ServerPool | None = None
        self._search = ""
        self._can_fetch = False
        self._known: dict[str, Document] = {}

    @property
    def name(self) -> str:
        return f"the MCP server {self._server.name} ({self._server.shown})"

    def start(self) -> None:
        self._running()

    def search(self, query: str, n_hits: int, keep_going: KeepGoing) -> Hits:
        pool = self._running()
        result = self._answer(pool, self._search, {"query": query}, keep_going)
        answer = answer_of(result)
        documents = documents_of(answer)
        if documents is None:
            text = (answer if isinstance(answer, str) else plain_text(result))[:MAX_CHARACTERS]
            documents = [Document("", f"{self._search}:{query}", query, text)] if text.strip() else []
        return Hits(self._hits(documents[:n_hits]))

    def fetch(self, url: str, keep_going: KeepGoing, *, as_source: bool = False) -> Page:  # noqa: ARG002 (a text is its source)
        pool = self._running()
        with self._lock:
            known = self._known.get(url)
        if not self._can_fetch or (known and not known.id and known.text):
            if known is None:
                raise PageError(f"{url} is not a result of a search, and nothing else can be opened")
            return self._page(url, known)
        identifier = (known and (known.id or known.url)) or url
        result = self._answer(pool, _FETCH, {"id": identifier}, keep_going)
        return self._page(url, document_of(answer_of(result)), known.title if known else "")

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()

    def _hits(self, documents: Sequence[Document]) -> list[Hit]:
        """The results, each with a URL that leads to it and to no other."""
        hits: dict[str, Hit] = {}
        with self._lock:
            for document in documents:
                url = self._url(document, hits)
                hits[url] = Hit(url, document.title or url, document.text)
                self._known.pop(url, None)
                self._known[url] = replace(document, text="") if self._can_fetch and document.id else document
            while len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]
        return list(hits.values())

    def _url(self, document: Document, taken: Container[str]) -> str:
        """Its own URL, unless that is another part of the same page."""
        url = free = document.url or document.id or title_line(document.title or document.text)
        if document.id and url in self._known and self._known[url].id != document.id:
            url = free = f"{url}#{document.id}"
        number = 2
        while free in taken:
            free, number = f"{url}#{number}", number + 1
        return free

    def _page(self, url: str, document: Document, title: str = "") -> Page:
        text = readable(document.text)
        if not text.strip():
            raise PageError(f"the MCP server {self._server.name} has no text for {url}")
        page = Page(url, title_line(document.title or title or url), text)
        return continued(page) if len(document.text) >= MAX_CHARACTERS else page

    def _answer(
        self, pool: "ServerPool", function: str, arguments: dict[str, Any], keep_going: KeepGoing
    ) -> "CallToolResult":
        from ossctl.app.tools.mcp.connection import ServerFault

        if not keep_going():
            raise PageError("the call was stopped")
        try:
            result = result_while(keep_going, pool.ask(self._server, function, arguments, self._seconds))
        except CancelledError:
            raise PageError("the call was stopped") from None
        except ServerFault as fault:
            raise PageError(f"the MCP server {self._server.name} {fault}") from None
        if result.is_error:
            raise PageError(readable(plain_text(result))[:MAX_CHARACTERS] or f"{function} failed")
        return result

    def _running(self) -> "ServerPool":
        """The server, started and with known functions. Raises OssctlError."""
        from ossctl.app.tools.mcp.pool import ServerPool

        with self._lock:
            if self._pool is None:
                self._pool = ServerPool([self._server])
            if not self._search:
                ((_, tools),) = self._pool.start()
                self._search = _search_function(self._server.name, tools)
                self._can_fetch = any(tool.name == _FETCH and _takes(tool, "id") for tool in tools)
            return self._pool


def _search_function(server: str, tools: Sequence[Tool]) -> str:
    """The function `search`, or the only one with such a name and a query. Raises OssctlError."""
    fitting = [tool.name for tool in tools if _SEARCH in tool.name.lower() and _takes(tool, "query")]
    if _SEARCH in fitting:
        return _SEARCH
    if len(fitting) == 1:
        return fitting[0]
    names = [tool.name for tool in tools]
    has = f"{', '.join(names[:_MAX_NAMED])}{', …' if len(names) > _MAX_NAMED else ''}" or "no functions"
    raise OssctlError(f"the MCP server {server} has no function search(query), but {has}", _NEEDS)


def _takes(tool: Tool, name: str) -> bool:
    """Whether a function takes a text called `name`, and needs nothing else."""
    parameters = tool.parameters or {}
    properties = parameters.get("properties")
    schema = properties.get(name) if isinstance(properties, Mapping) else None
    kind = schema.get("type", "string") if isinstance(schema, Mapping) else None
    return kind == "string" and set(parameters.get("required", ())) <= {name}
