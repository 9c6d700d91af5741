"""What a conversation has browsed: its pages, and the calls that search, open and find them.

Displays are those of OpenAI's reference browser, which gpt-oss was trained with: `[cursor]`, title and URL,
the range of lines, and lines with numbers, to cite as `【cursor†L1-L2】`.
"""

from collections.abc import Mapping
from typing import Any

from ossctl.app.tools.arguments import arguments_of
from ossctl.app.tools.browser.functions import FIND, OPEN, SEARCH
from ossctl.app.tools.browser.library import Hits, Library, PageError
from ossctl.app.tools.browser.page import Link, Page, title_line
from ossctl.app.tools.source import MAX_RESULT_BYTES, KeepGoing, ToolOutcome, failed, stopped
from ossctl.dialect import ToolCall

_MAX_HITS = 20
_MAX_MATCHES = 50
_MATCH_LINES = 4
_LINES_ABOVE = 4  # a passage, when its page opens there
_FIRST_SCREEN = 40  # lines: a passage in them is seen from the top of its page


class Browser:
    """The pages that a conversation has seen, each with a cursor, counted from 0."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._stack: list[Page] = []
        self._fetched: dict[str, Page] = {}

    def question(self, call: ToolCall) -> None:
        """Pages are only read."""

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        function = {SEARCH.name: self._search, OPEN.name: self._open, FIND.name: self._find}[call.name]
        try:
            arguments = arguments_of(call, dict[str, Any])
        except ValueError as error:
            return failed(call, str(error))
        try:
            result = function(arguments, keep_going)
        except PageError as error:
            return failed(call, str(error)) if keep_going() else stopped(call)
        return ToolOutcome(call, result, ok=True)

    def close(self) -> None:
        """Nothing was started."""

    def _search(self, arguments: Mapping[str, Any], keep_going: KeepGoing) -> str:
        query = _text(arguments, "query")
        n_hits = min(max(_number(arguments, "topn", 10), 1), _MAX_HITS)
        return self._show(_results(query, self._library.search(query, n_hits, keep_going)))

    def _open(self, arguments: Mapping[str, Any], keep_going: KeepGoing) -> str:
        target = arguments.get("id", -1)
        if isinstance(target, str) and target.strip().isdecimal():
            target = int(target)
        as_source = arguments.get("view_source") is True
        link: Link | None = None
        if isinstance(target, str):
            page = self._fetch(target, keep_going, as_source=as_source, again=True)
        else:
            number = _number({"id": target}, "id", -1)
            page = self._page(arguments)
            if number >= 0:
                if (link := page.links.get(number)) is None:
                    raise PageError(f"invalid link id {number}")
                page = self._fetch(link.url, keep_going, as_source=as_source)
            elif as_source:
                page = self._fetch(page.url, keep_going, as_source=True)
        start = _number(arguments, "loc", -1)
        return self._show(
            page, start if start >= 0 else _place(page, link), _number(arguments, "num_lines", -1)
        )

    def _find(self, arguments: Mapping[str, Any], _: KeepGoing) -> str:
        page, pattern = self._page(arguments), _text(arguments, "pattern")
        if page.is_result:
            raise PageError("cannot run find on a page of results: open one of them first")
        return self._show(_matches(page, pattern))

    def _page(self, arguments: Mapping[str, Any]) -> Page:
        cursor = _number(arguments, "cursor", -1)
        if not self._stack:
            raise PageError("no page is open yet")
        if not -1 <= cursor < len(self._stack):
            raise PageError(f"there is no cursor {cursor}; there are 0 to {len(self._stack) - 1}")
        return self._stack[cursor]

    def _fetch(self, url: str, keep_going: KeepGoing, *, as_source: bool, again: bool = False) -> Page:
        """A page from the library, or as it was before, unless `again`."""
        key = f"view-source:{url}" if as_source else url
        if again or key not in self._fetched:
            if not url:
                raise PageError("this page has no source")
            self._fetched[key] = self._library.fetch(url, keep_going, as_source=as_source)
        return self._fetched[key]

    def _show(self, page: Page, start: int = 0, n_lines: int = -1) -> str:
        """Put a page on the stack and display it from line `start`."""
        last = len(page.lines) - 1
        if start > last:
            raise PageError(f"invalid loc {start}: the last line is {last}")
        lines, end = page.view(start, max(n_lines, 0), MAX_RESULT_BYTES // 4)
        place = f" ({title_line(page.url)})" if page.url else ""
        self._stack.append(page)
        head = f"[{len(self._stack) - 1}] {page.title}{place}"
        return f"{head}\n**viewing lines [{start} - {end - 1}] of {last}**\n\n{lines}"


def _results(query: str, hits: Hits) -> Page:
    items = [
        f"  * 【{number}†{title_line(hit.title)}†{title_line(hit.url)}】 {title_line(hit.passage, 500)}"
        for number, hit in enumerate(hits.pages)
    ]
    body = "\n\n".join(filter(None, ["# Search Results", *(items or ["No results."]), hits.note]))
    links = {number: Link(hit.url, passage=hit.passage) for number, hit in enumerate(hits.pages)}
    return Page("", title_line(query), f"\nURL: \n{body}", links, is_result=True)


def _matches(page: Page, pattern: str) -> Page:
    """The places where a page has `pattern`, whatever its case, with the lines after each."""
    lines, wanted = page.plain_lines, pattern.lower()
    found: list[int] = []
    for number, line in enumerate(lines):
        if wanted in line.lower() and (not found or number >= found[-1] + _MATCH_LINES):
            found.append(number)
            if len(found) == _MAX_MATCHES:
                break
    chunks = [
        "\n".join([f"# 【{index}†match at L{number}】", *lines[number : number + _MATCH_LINES]])
        for index, number in enumerate(found)
    ]
    shown = title_line(wanted)
    return Page(
        f"{page.url}/find?pattern={shown}",
        f"Find results for text: `{shown}` in `{page.title}`",
        "\n\n".join(chunks) or f"No `find` results for pattern: `{shown}`",
        {index: Link(page.url, line=number) for index, number in enumerate(found)},
        is_result=True,
    )


def _place(page: Page, link: Link | None) -> int:
    """The line to open a page at: a little above what the link is for."""
    if link is None:
        return 0
    if link.line is not None:
        return link.line - _LINES_ABOVE if link.line > _LINES_ABOVE else link.line
    line = page.line_of(link.passage) or 0
    return line - _LINES_ABOVE if line >= _FIRST_SCREEN else 0


def _number(arguments: Mapping[str, Any], name: str, default: int) -> int:
    """A whole number, which models also write as a string or with a point."""
    value = arguments.get(name)
    try:
        return default if value is None else int(float(value))
    except (TypeError, ValueError, OverflowError):
        raise PageError(f"{name} must be a whole number") from None


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise PageError(f"{name} must be a text that is not empty")
    return value
