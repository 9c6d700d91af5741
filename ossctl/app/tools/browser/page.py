"""A page as the model sees it: lines with numbers, and links with ids."""

import re
import textwrap
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, chain

_COLUMNS = 80
VIEW_CHARACTERS = 4096  # about 1,024 tokens, as much as OpenAI's browser shows at once
_PASSAGE = 60  # characters of a passage that identify it

_LEADING_LINK = re.compile(r"^[^【】]*】")
LINK = re.compile(r"【\d+†([^†】]+)(?:†[^†】]+)?】")
_CUT_LINK = re.compile(r"【\d*(?:†([^†】]*)(?:†[^†】]*)?)?$")

# Control characters, and invisible ones that reorder text or hide it from people.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f\ud800-\udfff]"
)
_LINK_MARKS = str.maketrans({"【": "〖", "】": "〗"})


@dataclass(frozen=True)
class Link:
    """Where a link leads: to a page, or to the line or the passage of it that was found."""

    url: str
    line: int | None = None
    passage: str = ""


@dataclass(frozen=True)
class Page:
    """A document, or the results of a search. `url` is "" for the results of a search for pages."""

    url: str
    title: str
    text: str
    links: Mapping[int, Link] = field(default_factory=dict)
    is_result: bool = False

    @cached_property
    def lines(self) -> Sequence[str]:
        """The text in lines of at most 80 characters. Long words are cut."""
        return tuple(chain.from_iterable(_wrapped(line) for line in self.text.split("\n")))

    def view(self, start: int, n_lines: int, max_characters: int) -> tuple[str, int]:
        """Numbered lines from `start`, and the end of their range. If `n_lines` is 0, about a screen."""
        limit = max_characters if n_lines > 0 else VIEW_CHARACTERS
        last = min(start + n_lines, len(self.lines)) if n_lines > 0 else len(self.lines)
        shown: list[str] = []
        for number, line in enumerate(self.lines[start:last], start):
            if shown and limit <= 0:
                break
            shown.append(f"L{number}: {line}")
            limit -= len(shown[-1]) + 1
        return "\n".join(shown), start + len(shown)

    @cached_property
    def plain_lines(self) -> Sequence[str]:
        """The lines with the texts of links in place of the links."""
        return without_links("\n".join(self.lines)).split("\n")

    def line_of(self, passage: str) -> int | None:
        """The line where a passage begins, whatever its white space. None if it is not on the page."""
        parts = ("".join(part.split()) for part in without_links(passage).split("…"))
        wanted = max(parts, key=len)[:_PASSAGE]
        squeezed = ["".join(line.split()) for line in self.plain_lines]
        at = "".join(squeezed).find(wanted) if wanted else -1
        return bisect_right(list(accumulate(map(len, squeezed))), at) if at >= 0 else None


def continued(page: Page) -> Page:
    """The page of the first part of a document, with a note that there is more."""
    return replace(page, text=f"{page.text}\n[The document continues.]")


def readable(text: str) -> str:
    """Text of a document without characters that control a terminal, hide text or imitate links."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\v", "\n")
    return _UNWANTED.sub("", text).translate(_LINK_MARKS)


def title_line(text: str, limit: int = 200) -> str:
    """A title on one line, without what would end a link's text."""
    return " ".join(readable(text).replace("†", "‡").split())[:limit]


def _wrapped(line: str) -> list[str]:
    if len(line) <= _COLUMNS and "\t" not in line:
        return [line]
    return textwrap.wrap(line, _COLUMNS, replace_whitespace=False, drop_whitespace=False)


def without_links(text: str) -> str:
    """The text with the texts of links in place of the links, also of one that `text` cuts."""
    text = _CUT_LINK.sub(lambda found: found[1] or "", _LEADING_LINK.sub("", text))
    return LINK.sub(r"\1", text)
