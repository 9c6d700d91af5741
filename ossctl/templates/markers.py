"""Texts around sentinels: what renderings share, cut where no tag is halved."""

import re
from collections.abc import Sequence

# A tag in one of the brackets that templates use. Whatever it encloses is short and on one line.
_TAG = re.compile(
    r"\]<\]\w+\[>\[<?/?[\w|:▁\-=\".{}]*>?|<\|[^<>\n|]{1,40}\|?>|<[^<>\n]{1,60}>|\[/?[A-Z_]{2,30}\]|```\w*"
)
_BLANKS = re.compile(r"\s+")


def tags(text: str) -> list[re.Match[str]]:
    """Every tag in `text`, from left to right."""
    return list(_TAG.finditer(text))


def first_tag(text: str) -> str:
    """The first tag, or all of a text without tags."""
    return next((tag[0] for tag in tags(text)), text.strip())


def common_length(texts: Sequence[str]) -> int:
    """The length of the longest common prefix."""
    first, last = min(texts), max(texts)
    return next(
        (at for at, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), len(first)
    )


def shared_start(texts: Sequence[str], *, cut_words: bool = False) -> str:
    """The longest common prefix that halves no tag in any text, and no word if the texts go on."""
    end = common_length(texts)
    return texts[0][: min(_border_before(text, end, cut_words=cut_words) for text in texts)]


def shared_end(texts: Sequence[str]) -> str:
    """The longest common suffix that halves no tag in any text."""
    length = common_length([text[::-1] for text in texts])
    return texts[0][len(texts[0]) - min(_after(text, length) for text in texts) :]


def _border_before(text: str, end: int, *, cut_words: bool) -> int:
    for tag in _TAG.finditer(text):
        if tag.start() < end < tag.end():
            end = tag.start()
    if not cut_words:
        while 0 < end < len(text) and _in_word(text, end):
            end -= 1
    return end


def _in_word(text: str, at: int) -> bool:
    return text[at - 1].isalnum() and text[at].isalnum()


def _after(text: str, length: int) -> int:
    """The greatest length up to `length` of a suffix that starts at a border."""
    start = len(text) - length
    for tag in _TAG.finditer(text):
        if tag.start() < start < tag.end():
            start = tag.end()
    while 0 < start < len(text) and _in_word(text, start):
        start += 1
    return len(text) - start


def flexible(marker: str, holes: dict[str, str] | None = None) -> str:
    """A regular expression for `marker`, with any blanks where it has some.

    `holes` maps texts such as `{NAME}` to expressions for what they stand for.
    """
    parts = re.split("(" + "|".join(map(re.escape, holes)) + ")", marker) if holes else [marker]
    seen: set[str] = set()
    made = []
    for part in parts:
        hole = (holes or {}).get(part)
        group = re.match(r"\(\?P<(\w+)>", hole) if hole else None
        if hole and group and part in seen:
            hole = f"(?P={group[1]})"  # the same text again
        seen.add(part)
        made.append(hole or r"\s*".join(map(re.escape, _BLANKS.split(part))))
    return "".join(made)
