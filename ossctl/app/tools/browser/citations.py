"""Citations of pages in an answer, `【3†L12-L15】`, as footnotes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ossctl.app.tools.browser.page import LINK

_HEAD = re.compile(
    r"\[(\d{1,6})\] (.{0,600}?)(?: \(([^\n]{0,600})\))?\n\*\*viewing lines \[\d+ - \d+\] of \d+\*\*\n\n"
)
_LINE = re.compile(r"^L(\d+): (.*)$", re.MULTILINE)
_CODE = r"(?<!`)(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"
_CITATION = r"【(?P<page>\d{1,6})†(?P<place>[^†】\n]{1,100})(?:†[^†】\n]{1,100})?】"
_CODE_OR_CITATION = re.compile(f"{_CODE}|{_CITATION}")
_FINISHED = re.compile(f"{_CODE}(?=.)|{_CITATION}")
_FENCE = re.compile(r"[\s>]*(`{3,}|~{3,})")
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
    """Replaces the citations in an answer that arrives in pieces. Those of unknown pages and in code stay."""

    def __init__(self, pages: Mapping[int, CitedPage]) -> None:
        self._pages = pages
        self._held = ""
        self._line = ""  # what has been shown of the current line, before its citations were replaced
        self._fence = ""  # which began the block of code where the text is
        self._footnotes: dict[tuple[str, str, str], Footnote] = {}

    @property
    def footnotes(self) -> Sequence[Footnote]:
        """Those of the text so far."""
        return tuple(self._footnotes.values())

    def add(self, piece: str) -> str:
        """The text that can be shown now. What may become a citation or code waits for the next piece."""
        *lines, rest = (self._held + piece).split("\n")
        shown = [f"{self._part(line)}\n{self._end_line()}" for line in lines]
        end = len(rest) if self._is_code(rest) else _unfinished(rest)
        self._held = rest[end:]
        return "".join([*shown, self._part(rest[:end])])

    def end(self) -> str:
        """The text that was waiting, at the end of the answer."""
        held, self._held = self._held, ""
        return self._part(held)

    def _part(self, text: str) -> str:
        """A part of the current line, with its citations replaced."""
        shown = text if self._is_code(text) else _CODE_OR_CITATION.sub(self._replaced, text)
        self._line += text
        return shown

    def _is_code(self, text: str) -> bool:
        return bool(self._fence or _FENCE.match(self._line + text))

    def _end_line(self) -> str:
        """Notice the begin or end of a block of code. Shows nothing."""
        fence = _FENCE.match(self._line)
        after = self._line[fence.end() :] if fence else ""
        if fence and not self._fence and "`" not in after:
            self._fence = fence[1]
        elif fence and self._fence and fence[1].startswith(self._fence) and not after.strip():
            self._fence = ""
        self._line = ""
        return ""

    def _replaced(self, found: re.Match[str]) -> str:
        page = self._pages.get(int(found["page"])) if found["page"] else None
        if page is None:
            return found[0]
        quotation = _quotation(page, found["place"])
        key = (page.title, page.url, quotation)
        if key not in self._footnotes:
            self._footnotes[key] = Footnote(len(self._footnotes) + 1, *key)
        return f"[{self._footnotes[key].number}]"


def _unfinished(text: str) -> int:
    """Where a line ends for now: before a citation, or code within the text, that is not complete."""
    rest = _FINISHED.sub(lambda found: " " * len(found[0]), text)
    code, citation = rest.find("`"), _UNFINISHED.search(rest)
    return min(code if code >= 0 else len(text), citation.start() if citation else len(text))


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
