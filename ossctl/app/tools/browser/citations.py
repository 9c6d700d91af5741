"""Citations of pages in an answer, `【3†L12-L15】`, as footnotes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ossctl.app.tools.browser.page import LINK

_HEAD = re.compile(
    r"\[(\d{1,6})\] (.{0,600}?)(?: \(([^\n]{0,600})\))?\n\*\*viewing lines \[\d+ - \d+\] of \d+\*\*\n\n"
)
_LINE = re.compile(r"^L(\d+): (.*)$", re.MULTILINE)
_CITATION = re.compile(r"【(\d{1,6})†([^†】\n]{1,100})(?:†[^†】\n]{1,100})?】")
_UNFINISHED = re.compile(r"【(?:\d{1,6}(?:†[^†】\n]{0,100}(?:†[^†】\n]{0,100})?)?)?\Z")
_LINES = re.compile(r"L(\d{1,9})(?:\s*[-\u2013]\s*L?(\d{1,9}))?")
_QUOTED = 120  # characters of a footnote's quotation


@dataclass(frozen=True)
class CitedPage:
    """A page as the model saw it, by one cursor: its title, its URL or path, and the lines shown."""

    title: str
    url: str
    lines: Mapping[int, str]


@dataclass(frozen=True)
class Footnote:
    """What `[number]` in an answer refers to. `quotation` is the beginning of the lines cited."""

    number: int
    title: str
    url: str
    quotation: str = ""

    def __str__(self) -> str:
        place = f" ({self.url})" if self.url and self.url != self.title else ""
        return f"[{self.number}] {self.title}{place}{f': “{self.quotation}”' if self.quotation else ''}"


def cited_pages(results: Iterable[str]) -> Mapping[int, CitedPage]:
    """The pages by their cursors, from the results of a conversation's calls, whatever others there are."""
    pages: dict[int, CitedPage] = {}
    for result in results:
        if head := _HEAD.match(result):
            lines = {int(line[1]): line[2] for line in _LINE.finditer(result, head.end())}
            pages[int(head[1])] = CitedPage(head[2], head[3] or "", lines)
    return pages


def with_footnotes(answer: str, pages: Mapping[int, CitedPage]) -> tuple[str, Sequence[Footnote]]:
    """An answer with `[1]` in place of its citations, and what these are."""
    citations = Citations(pages)
    return citations.add(answer) + citations.end(), citations.footnotes


def footnoted(answer: str, results: Iterable[str]) -> str:
    """An answer with its footnotes below it, if it cites pages among the results of calls."""
    text, notes = with_footnotes(answer, cited_pages(results))
    return "\n\n".join([text.rstrip(), *map(str, notes)]) if notes else answer


class Citations:
    """Replaces the citations in an answer that arrives in pieces. Citations of unknown pages stay."""

    def __init__(self, pages: Mapping[int, CitedPage]) -> None:
        self._pages = pages
        self._held = ""
        self._footnotes: dict[tuple[str, str, str], Footnote] = {}

    @property
    def footnotes(self) -> Sequence[Footnote]:
        """Those of the text so far."""
        return tuple(self._footnotes.values())

    def add(self, piece: str) -> str:
        """The text that can be shown now. What may become a citation waits for the next piece."""
        text = self._held + piece
        unfinished = _UNFINISHED.search(text)
        end = unfinished.start() if unfinished else len(text)
        self._held = text[end:]
        return _CITATION.sub(self._replaced, text[:end])

    def end(self) -> str:
        """The text that was waiting, at the end of the answer."""
        held, self._held = self._held, ""
        return held

    def _replaced(self, found: re.Match[str]) -> str:
        page = self._pages.get(int(found[1]))
        if page is None:
            return found[0]
        quotation = _quotation(page, found[2])
        key = (page.title, page.url, quotation)
        if key not in self._footnotes:
            self._footnotes[key] = Footnote(len(self._footnotes) + 1, *key)
        return f"[{self._footnotes[key].number}]"


def _quotation(page: CitedPage, place: str) -> str:
    """The beginning of the lines that a citation names, as far as they were shown."""
    named = _LINES.search(place)
    if not named:
        return ""
    first = int(named[1])
    last = min(int(named[2] or first), first + _QUOTED)
    words = " ".join(page.lines.get(number, "") for number in range(first, last + 1))
    text = " ".join(LINK.sub(r"\1", words).split())
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED].rsplit(' ', 1)[0]}…"
