"""The browser over real MCP servers that search documents."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
from mcp_types import CallToolResult, TextContent

from ossctl.app.tools.browser.library import PageError
from ossctl.app.tools.browser.server_library import ServerLibrary
from ossctl.app.tools.browser.server_results import answer_of, document_of, documents_of
from ossctl.app.tools.browser.source import BrowserSource
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.source import ToolOutcome
from ossctl.dialect import ToolCall
from ossctl.errors import OssctlError
from tests import support

SUPPORT = Path(next(iter(support.__path__)))
URL = "https://example.org/turku"


def library_of(program: str, kind: str, seconds: float = 20.0) -> ServerLibrary:
    argv = (sys.executable, str(SUPPORT / program), kind)
    return ServerLibrary(McpServer(kind, argv, shown=program), seconds)


@pytest.fixture(scope="module")
def full() -> Iterator[ServerLibrary]:
    """A server with both functions. It is left running for all tests."""
    with closing(library_of("mcp_search_server.py", "full")) as library:
        yield library


def go() -> bool:
    return True


def test_a_conversation_searches_and_opens_documents(full: ServerLibrary) -> None:
    source = BrowserSource(full)
    assert [tool.name for tool in source.tools()] == ["browser_search", "browser_open", "browser_find"]
    assert source.notes() == [
        "The model can search the MCP server full (mcp_search_server.py) without asking."
    ]
    session = source.open()

    def run(name: str, **arguments: object) -> ToolOutcome:
        return session.run(ToolCall(f"browser_{name}", json.dumps(arguments)), go)

    assert "【0†Turku†https://example.org/turku】" in run("search", query="castle").result
    assert run("open", id=0).result == (
        f"[1] Turku ({URL})\n**viewing lines [0 - 1] of 1**\n\nL0: Turku is a city.\nL1: Its castle is old."
    )
    assert "match at L1" in run("find", pattern="castle").result
    missing = run("open", id="doc-9")
    assert not missing.ok
    assert "there is no document doc-9" in missing.result


def test_results_have_urls_of_their_own_and_no_more_than_wanted(full: ServerLibrary) -> None:
    hits = full.search("x", 3, go)
    assert [(hit.url, hit.title) for hit in hits.pages] == [
        (URL, "Turku"), (f"{URL}#doc-2", "Aura"), ("doc-3", "Long"),
    ]  # fmt: skip
    assert full.fetch(f"{URL}#doc-2", go).text == "The Aura is a river."
    assert full.fetch(URL, go).title == "Turku"
    assert len(full.search("x", 1, go).pages) == 1
    assert not full.search("nothing", 5, go).pages


def test_a_long_document_is_cut(full: ServerLibrary) -> None:
    page = full.fetch("doc-3", go)
    assert page.text.endswith("[The document continues.]")
    assert len(page.text) < 2_200_000


def test_a_search_ends_when_the_user_stops_it(full: ServerLibrary) -> None:
    full.start()
    end = monotonic() + 0.3
    with pytest.raises(PageError, match="stopped"):
        full.search("slow", 5, lambda: monotonic() < end)
    assert monotonic() < end + 5
    assert full.search("x", 5, go).pages


def test_a_search_has_limited_time() -> None:
    with closing(library_of("mcp_search_server.py", "full", 0.4)) as library:
        library.start()
        with pytest.raises(PageError, match=r"the MCP server full did not answer within 0\.4 s"):
            library.search("slow", 5, go)


def test_a_server_that_crashes_is_started_again(full: ServerLibrary) -> None:
    with pytest.raises(PageError, match="the MCP server full ended with exit code 3"):
        full.search("crash", 5, go)
    assert full.search("x", 5, go).pages


def test_a_search_alone_gives_the_pages_too() -> None:
    with closing(library_of("mcp_search_server.py", "alone")) as library:
        hits = library.search("castle", 2, go).pages
        assert hits[0].passage.startswith("Turku is a city.")
        assert library.fetch(hits[0].url, go).text.startswith("Turku is a city.")
        assert (hits[1].url, library.fetch(hits[1].url, go).title) == (f"{URL}#2", "Aura")
        (plain,) = library.search("plain", 5, go).pages
        assert (plain.url, plain.title) == ("web_search:plain", "plain")
        assert library.fetch(plain.url, go).lines == ("Turku: a city.", "Aura: a river.")
        with pytest.raises(PageError, match="not a result of a search"):
            library.fetch("https://example.org/other", go)


def test_a_server_that_cannot_search_is_named_with_its_functions() -> None:
    with closing(library_of("mcp_server.py", "toys")) as library:
        with pytest.raises(
            OssctlError, match=r"toys has no function search\(query\), but add, words"
        ) as caught:
            BrowserSource(library).tools()
        assert "fetch(id)" in caught.value.hint


@pytest.mark.parametrize(
    "result",
    [
        CallToolResult(content=[TextContent(text='{"results": [{"id": 7, "title": "T", "text": "x"}]}')]),
        CallToolResult(
            content=[], structured_content={"results": [{"id": "7", "title": "T", "snippet": "x"}]}
        ),
        CallToolResult(
            content=[], structured_content={"result": [{"id": "7", "title": "T", "text": "x"}, 3]}
        ),
        CallToolResult(content=[], structured_content={"result": '[{"id": "7", "title": "T", "text": "x"}]'}),
    ],
)
def test_results_in_all_their_forms(result: CallToolResult) -> None:
    (document,) = documents_of(answer_of(result)) or []
    assert (document.id, document.url, document.title, document.text) == ("7", "", "T", "x")


@pytest.mark.parametrize("text", ["no JSON", "3", '"x"', '{"results": "none"}', '["a"]', "[" * 100_000])
def test_answers_that_are_no_list_of_documents(text: str) -> None:
    answer = answer_of(CallToolResult(content=[TextContent(text=text)]))
    assert documents_of(answer) is None


def test_a_fetched_document_may_be_a_plain_text() -> None:
    assert document_of("a text").text == "a text"
    assert document_of({"title": 3, "text": None}).text == ""
    assert document_of([1]).text == ""
