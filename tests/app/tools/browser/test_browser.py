"""The browser's three functions, as the model sees them."""

import json
from collections.abc import Mapping

import pytest

from ossctl.app.tools.browser.browser import Browser
from ossctl.app.tools.browser.library import Hit, Hits, PageError
from ossctl.app.tools.browser.page import Link, Page, without_links
from ossctl.app.tools.source import MAX_RESULT_BYTES, KeepGoing
from ossctl.dialect import ToolCall

LONG = "\n".join(f"line {number}" for number in range(1000))


class Shelf:
    """Pages by their URLs. Every search finds all of them."""

    name = "a shelf"

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self.pages = pages
        self.fetched: list[str] = []

    def start(self) -> None:
        pass

    def search(self, query: str, n_hits: int, keep_going: KeepGoing) -> Hits:
        found = [Hit(page.url, page.title, without_links(page.text)[-20:]) for page in self.pages.values()]
        return Hits(found[:n_hits], "Not all is searched.")

    def fetch(self, url: str, keep_going: KeepGoing, *, as_source: bool = False) -> Page:
        self.fetched.append(url)
        if url not in self.pages:
            raise PageError(f"there is no {url}")
        return Page(url, "source", "<html>") if as_source else self.pages[url]

    def close(self) -> None:
        pass


@pytest.fixture
def shelf() -> Shelf:
    pages = [
        Page("a.md", "Turku", "Turku is a city.\nIt rains. See 【0†the river】.", {0: Link("long.md")}),
        Page("long.md", "Aura", LONG),
    ]
    return Shelf({page.url: page for page in pages})


@pytest.fixture
def browser(shelf: Shelf) -> Browser:
    return Browser(shelf)


def call(browser: Browser, name: str, **arguments: object) -> str:
    return browser.run(ToolCall(f"browser_{name}", json.dumps(arguments)), lambda: True).result


def test_search_shows_numbered_lines_with_links(browser: Browser) -> None:
    assert call(browser, "search", query="weather", topn=1) == (
        "[0] weather\n**viewing lines [0 - 6] of 6**\n\n"
        "L0: \nL1: URL: \nL2: # Search Results\nL3: \n"
        "L4:   * 【0†Turku†a.md】 ains. See the river.\nL5: \nL6: Not all is searched."
    )


def test_open_follows_links_and_shows_about_a_screen(browser: Browser, shelf: Shelf) -> None:
    call(browser, "search", query="weather")
    assert call(browser, "open", id=0).startswith(
        "[1] Turku (a.md)\n**viewing lines [0 - 1] of 1**\n\n"
        "L0: Turku is a city.\nL1: It rains. See 【0†the river】."
    )
    shown = call(browser, "open", id="0", cursor="1")
    assert shown.startswith("[2] Aura (long.md)\n**viewing lines [0 - ")
    assert 3000 < len(shown) < 5000
    assert call(browser, "open", id=0, cursor=0.0).startswith("[3] Turku")
    assert shelf.fetched == ["a.md", "long.md"], "a page is fetched once"
    assert call(browser, "open", id="a.md").startswith("[4] Turku")
    assert shelf.fetched[2:] == ["a.md"], "unless it is asked for by its URL"


def test_open_without_an_id_scrolls(browser: Browser) -> None:
    call(browser, "open", id="long.md")
    assert call(browser, "open", loc=900, num_lines=2) == (
        "[1] Aura (long.md)\n**viewing lines [900 - 901] of 999**\n\nL900: line 900\nL901: line 901"
    )
    assert "viewing lines [990 - 999] of 999" in call(browser, "open", cursor=0, loc=990)
    assert len(call(browser, "open", loc=0, num_lines=10**9).encode()) < MAX_RESULT_BYTES
    assert "viewing lines [0 - 0] of 0" in call(browser, "open", view_source=True)


def test_a_search_result_opens_at_its_passage(browser: Browser) -> None:
    call(browser, "search", query="weather")
    assert "**viewing lines [993 - 999] of 999**" in call(browser, "open", id=1)


def test_find_shows_lines_and_opens_at_them(browser: Browser) -> None:
    call(browser, "open", id="long.md")
    found = call(browser, "find", pattern="LINE 77")
    assert found.startswith(
        "[1] Find results for text: `line 77` in `Aura` (long.md/find?pattern=line 77)\n"
        "**viewing lines [0 - 22] of 22**\n\nL0: # 【0†match at L77】\nL1: line 77\nL2: line 78"
    )
    assert call(browser, "open", id=1).startswith("[2] Aura (long.md)\n**viewing lines [766 - ")
    assert "No `find` results for pattern: `x`" in call(browser, "find", pattern="x", cursor=0)


def test_find_looks_at_the_texts_of_links(browser: Browser) -> None:
    call(browser, "open", id="a.md")
    assert "L1: It rains. See the river." in call(browser, "find", pattern="see the")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("open", {}, "no page is open yet"),
        ("find", {"pattern": "x"}, "no page is open yet"),
        ("open", {"id": "b.md"}, "there is no b.md"),
        ("open", {"id": [1]}, "id must be a whole number"),
        ("search", {"query": " "}, "query must be a text"),
        ("search", {"query": "x", "topn": "many"}, "topn must be a whole number"),
    ],
)
def test_a_mistake_is_told_to_the_model(
    browser: Browser, name: str, arguments: dict[str, object], message: str
) -> None:
    assert message in json.loads(call(browser, name, **arguments))["error"]


def test_a_mistake_opens_no_page(browser: Browser) -> None:
    call(browser, "search", query="weather")
    for arguments in ({"loc": 99}, {"id": 7}, {"cursor": 4}, {"cursor": -2}):
        assert "error" in json.loads(call(browser, "open", **arguments))
    assert "open one of them first" in call(browser, "find", pattern="x")
    assert call(browser, "open", id=0).startswith("[1] ")
