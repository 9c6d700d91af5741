"""The web: searched with ddgs, and read with trafilatura. Both are part of the extra `ossctl[web]`."""

from collections.abc import Callable
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from ossctl import __version__
from ossctl.app.tools.browser.documents import MAX_BYTES, MAX_CHARACTERS, decoded, pdf_page
from ossctl.app.tools.browser.html_text import html_page
from ossctl.app.tools.browser.library import Hit, Hits, PageError
from ossctl.app.tools.browser.page import Page, continued, readable, title_line
from ossctl.app.tools.browser.web_fetch import Fetched, fetch
from ossctl.app.tools.source import POLL_SECONDS, KeepGoing
from ossctl.errors import UsageError

_SECONDS = 15  # of each search engine
_HTML = {"text/html", "application/xhtml+xml"}
_TEXT = {"application/json", "application/xml", "application/javascript", "application/yaml"}

_Result = TypeVar("_Result")


class WebLibrary:
    """Pages of the web. Only public addresses are opened, unless `public_only` is false."""

    name = "the web"

    def __init__(self, *, public_only: bool = True) -> None:
        """Raises UsageError if a library is missing."""
        missing = [name for name in ("ddgs", "trafilatura") if find_spec(name) is None]
        if missing:
            packages = f"package{'s' * (len(missing) > 1)} {' and '.join(missing)}"
            raise UsageError(f"--browser web needs the {packages}", 'Run: pip install "ossctl[web]"')
        self._public_only = public_only

    def start(self) -> None:
        """Nothing has to run before the first search."""

    def search(self, query: str, n_hits: int, keep_going: KeepGoing) -> Hits:
        from ddgs import DDGS
        from ddgs.exceptions import DDGSException

        def found() -> list[dict[str, str]]:
            return list(DDGS(timeout=_SECONDS).text(query, max_results=n_hits))

        try:
            results = _unless_stopped(keep_going, found)
        except DDGSException as error:
            raise PageError(f"the search failed: {error}") from None
        return Hits([Hit(item["href"], item["title"], item["body"]) for item in results if item.get("href")])

    def fetch(self, url: str, keep_going: KeepGoing, *, as_source: bool = False) -> Page:
        url = url if "://" in url else f"https://{url}"
        agent = f"ossctl/{__version__}"

        def fetched() -> Fetched:
            return fetch(url, MAX_BYTES, keep_going, agent, public_only=self._public_only)

        got = _unless_stopped(keep_going, fetched)
        if got.content_type == "application/pdf":
            return pdf_page(got.url, got.data, keep_going)
        if got.content_type not in _HTML | _TEXT and not got.content_type.startswith("text/"):
            raise PageError(f"{got.url} is {got.content_type}, not text")
        page = _page(got, as_source=as_source)
        return continued(page) if len(got.data) > MAX_CHARACTERS else page

    def close(self) -> None:
        """Nothing runs in the background."""


def _page(got: Fetched, *, as_source: bool) -> Page:
    text = decoded(got.data[:MAX_CHARACTERS])
    if as_source or got.content_type not in _HTML:
        return Page(got.url, title_line(got.url), readable(text))
    whole = html_page(text, got.url)
    main = html_page(_main_text(text, got.url), got.url, whole.title)
    return main if main.text else whole


def _main_text(html: str, url: str) -> str:
    """The document without menus and advertisements, as HTML; "" if that is unknown."""
    import trafilatura

    return (
        trafilatura.extract(html, url=url, output_format="html", include_links=True, favor_recall=True) or ""
    )


def _unless_stopped(keep_going: KeepGoing, work: Callable[[], _Result]) -> _Result:
    """The result of `work`, which runs on a thread that is left behind when the user stops the call."""
    done: SimpleQueue[_Result | Exception] = SimpleQueue()

    def run() -> None:
        try:
            done.put(work())
        except Exception as error:  # noqa: BLE001 (raised where it is waited for)
            done.put(error)

    if keep_going():
        Thread(target=run, name="web", daemon=True).start()
    while keep_going():
        try:
            result = done.get(timeout=POLL_SECONDS)
        except Empty:
            continue
        if isinstance(result, Exception):
            raise result
        return result
    raise PageError("the call was stopped")
