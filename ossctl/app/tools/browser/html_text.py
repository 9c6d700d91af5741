"""HTML as text with numbered links, in the form that gpt-oss was trained to read.

Python's own parser takes quadratic time for some broken documents, so this is another one: it passes over
the text once, and knows only what shows in it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urljoin, urlsplit

from ossctl.app.tools.browser.page import Link, Page, readable, title_line

_NAME = re.compile(r"</?([a-zA-Z][^\s/>]*)")
_TAG = re.compile(r"(?:[^\"'>]++|\"[^\"]*+\"|'[^']*+')*+>")
_MAX_TAG = 4096  # characters in which quotes are understood; a longer tag ends at its first `>`
_ATTRIBUTE = re.compile(r"""([^\s"'>/=]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'=<>`]++))""")
_SPACES = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\n\s*\n")

_RAW = {"script", "style", "textarea", "title", "xmp", "iframe", "noframes", "noembed"}
_DROPPED = {"script", "style", "template", "svg", "math", "iframe", "noframes", "noembed", "object", "select"}
_HEADINGS = {f"h{level}": f"{'#' * level} " for level in range(1, 7)}
_PARAGRAPHS = {
    "p",
    "ul",
    "ol",
    "dl",
    "pre",
    "table",
    "blockquote",
    "figure",
    "article",
    "section",
    *_HEADINGS,
}
_LINES = {"div", "tr", "dt", "dd", "header", "footer", "main", "nav", "aside", "form", "figcaption", "option"}
_NO_LINKS = ("javascript:", "mailto:", "data:", "tel:", "blob:")


def html_page(html: str, url: str, title: str = "") -> Page:
    """Convert a document. `title` takes the place of its own."""
    text = _Text(url)
    for piece in _pieces(html):
        text.add(piece)
    body = _BLANK_LINES.sub("\n\n", text.text()).strip("\n")
    return Page(url, title_line(title or text.title or site_of(url) or url), body, text.links)


def site_of(url: str) -> str:
    """The host of a URL, or "" for a path in a folder."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


@dataclass(frozen=True)
class _Tag:
    name: str
    attributes: dict[str, str]
    ends: bool


def _pieces(html: str) -> Iterator[str | _Tag]:
    """Texts and tags in their order. Comments and declarations are left out."""
    at = 0
    while (tag := html.find("<", at)) >= 0:
        if tag > at:
            yield unescape(html[at:tag])
        if html.startswith("<!--", tag):
            at = _after(html, "-->", tag + 4)
        elif html.startswith(("<!", "<?"), tag):
            at = _after(html, ">", tag)
        elif name := _NAME.match(html, tag, tag + 64):
            whole = _TAG.match(html, name.end(), name.end() + _MAX_TAG)
            at = whole.end() if whole else _after(html, ">", name.end())
            found = _Tag(name[1].lower(), _attributes(html[name.end() : at]), html[tag + 1] == "/")
            yield found
            if found.name in _RAW and not found.ends:
                end = _end_of_raw(html, found.name, at)
                yield html[at:end] if found.name in _DROPPED else unescape(html[at:end])
                at = end
        else:
            yield "<"
            at = tag + 1
    yield unescape(html[at:])


def _after(html: str, mark: str, start: int) -> int:
    end = html.find(mark, start)
    return len(html) if end < 0 else end + len(mark)


def _end_of_raw(html: str, name: str, start: int) -> int:
    found = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(html, start)
    return found.start() if found else len(html)


def _attributes(text: str) -> dict[str, str]:
    found = (
        (match[1].lower(), match[2] or match[3] or match[4] or "") for match in _ATTRIBUTE.finditer(text)
    )
    return {name: unescape(value) for name, value in found}


@dataclass
class _Text:
    """Gathers the text of a document, and its links."""

    url: str
    title: str = ""
    links: dict[int, Link] = field(default_factory=dict)
    _parts: list[str] = field(default_factory=list)
    _ids: dict[str, int] = field(default_factory=dict)
    _lists: list[int | None] = field(default_factory=list)  # the next number of an ordered one
    _link: tuple[str, int] | None = None  # where the open link leads, and its first part
    _dropped: str = ""  # the open element whose contents are dropped
    _depth: int = 0  # of elements with its name
    _in_title: bool = False
    _preformatted: int = 0
    _cells: int = 0  # of the open row
    _n_images: int = 0

    def text(self) -> str:
        self._end_link()
        lines = "".join(self._parts).split("\n")
        return "\n".join(line.rstrip() for line in lines)

    def add(self, piece: str | _Tag) -> None:
        if isinstance(piece, str):
            self._add_text(piece)
        elif self._dropped:
            self._depth += (-1 if piece.ends else 1) if piece.name == self._dropped else 0
            self._dropped = self._dropped if self._depth else ""
        elif piece.name in _DROPPED:
            self._dropped, self._depth = ("", 0) if piece.ends else (piece.name, 1)
        elif piece.ends:
            self._end(piece.name)
        else:
            self._start(piece)

    def _add_text(self, text: str) -> None:
        if self._dropped:
            return
        if self._in_title:
            self.title = self.title or text.strip()
            return
        text = readable(text)
        if self._preformatted:
            self._parts.append(text)
            return
        text = _SPACES.sub(" ", text)
        if self._at_space():
            text = text.removeprefix(" ")
        if text:
            self._parts.append(text)

    def _start(self, tag: _Tag) -> None:
        name = tag.name
        if name == "title":
            self._in_title = True
        elif name == "a" and not self._link:
            self._start_link(tag.attributes.get("href", ""))
        elif name == "img":
            label = title_line(tag.attributes.get("alt") or tag.attributes.get("title") or "")
            self._parts.append(f"[Image {self._n_images}{f': {label}' if label else ''}]")
            self._n_images += 1
        elif name in {"ul", "ol"}:
            self._break(2 if not self._lists else 1)
            self._lists.append(1 if name == "ol" else None)
        elif name == "li":
            self._start_item()
        elif name in {"td", "th"}:
            self._parts.append(" | " if self._cells else "")
            self._cells += 1
        elif name in {"br", "hr"}:
            self._break(1, at_most_once=False)
            self._parts.append("* * *\n" if name == "hr" else "")
        elif name in {"sup", "sub"}:
            self._parts.append("^{" if name == "sup" else "_{")
        else:
            self._block(name)
            self._preformatted += name == "pre"
            self._parts.append("> " if name == "blockquote" else _HEADINGS.get(name, ""))

    def _end(self, name: str) -> None:
        if name == "title":
            self._in_title = False
        elif name == "a":
            self._end_link()
        elif name in {"ul", "ol"}:
            if self._lists:
                self._lists.pop()
            self._break(1 if self._lists else 2)
        elif name == "li":
            self._break(1)
        elif name in {"sup", "sub"}:
            self._parts.append("}")
        else:
            self._preformatted = max(self._preformatted - (name == "pre"), 0)
            self._block(name)

    def _block(self, name: str) -> None:
        if name in _PARAGRAPHS:
            self._break(2)
        elif name in _LINES:
            self._break(1)
            self._cells = 0

    def _start_item(self) -> None:
        self._break(1)
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        depth = min(max(len(self._lists), 1), 8)
        self._parts.append("  " * depth + (f"{number}. " if number is not None else "* "))

    def _start_link(self, target: str) -> None:
        target = target.strip()
        if not target.lower().startswith(_NO_LINKS) and not target.startswith("#") and target:
            self._link = (target, len(self._parts))

    def _end_link(self) -> None:
        """Put the parts of an open link into its brackets."""
        if not self._link:
            return
        (target, first), self._link = self._link, None
        text = title_line("".join(self._parts[first:]))
        try:
            url = urljoin(self.url, target)
            site = site_of(url)
        except ValueError:
            return
        if not text:
            return
        number = self._ids.setdefault(url, len(self._ids))
        self.links[number] = Link(url)
        elsewhere = f"†{title_line(site)}" if site != site_of(self.url) else ""
        self._parts[first:] = [f"【{number}†{text}{elsewhere}】"]

    def _at_space(self) -> bool:
        last = next((part for part in reversed(self._parts) if part), "\n")
        return last[-1].isspace()

    def _break(self, n_lines: int, *, at_most_once: bool = True) -> None:
        """End the line, unless it is empty, and add empty ones up to `n_lines` newlines."""
        ending = "".join(self._parts[-3:])[-2:]
        present = len(ending) - len(ending.rstrip("\n")) if at_most_once else 0
        if self._parts and present < n_lines:
            self._parts.append("\n" * (n_lines - present))
