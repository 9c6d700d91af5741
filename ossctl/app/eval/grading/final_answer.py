"""Finds the final answer in a text: after the last "ANSWER:", in a box, after "the answer is"."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")

_LATEST = 30  # marks that are read, so that a long text takes time in proportion to its length
_LONGEST = 2_000  # characters of what follows a mark

_WORDS = "answers?|antwort|réponse|respuesta|risposta|resposta|ответ|答案|答え"
_LABEL = re.compile(
    rf"(?:(?<!\w)(?:{_WORDS})(?!\w)|\b(?:correct|final|right|best|my)\s(?:choice|option|result)\b)"
    r"[\"')\]]{0,3}\s?(?:\([^()\n]{0,30}\)\s?)?[:=](?!=)[ \t]*+"
    r"|<answer>\s*+|^[ \t]*+####[ \t]*+(?=\S)",
    re.IGNORECASE | re.MULTILINE,
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{")
_PROSE = re.compile(
    r"\b(?:answer|choice|option|solution|result)\b(?:\s[\w*+/×÷^-]{1,30}+){0,6}?"
    r"\s(?:is|are|would be|must be|should be|will be|equals)\b"
    r"(?:\s(?:therefore|thus|then|clearly|simply|indeed|definitely|probably)\b)?,?[ \t]*+:?[ \t]*+"
    r"(?:not\s[^\s,]{1,40},?\s(?:but|it's|it\sis|rather)\s)?"
    r"|答案[是为]\s*"
    r"|\bI(?:'d|'ll|\swill|\swould)?\s(?:choose|pick|select|go\swith|answer)\s",
    re.IGNORECASE,
)
_REVISION = re.compile(
    r"\b(?:wait|actually|correction|mistake|let me (?:re-?)?(?:check|consider|think)|on second thought|hmm)"
    r"\b",
    re.IGNORECASE,
)
_JSON_TEXT = re.compile(r'\s*"((?:[^"\\\n]|\\.)*+)"')
_LETTER_LINES = re.compile(r"(?:\n[ \t]*[A-Z][.)]?[ \t]*(?=\n|\Z)){1,10}")
_BULLET = re.compile(r"(?:[-*•+]|\d{1,2}[.)])[ \t]+(?=\S)")


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What a text gives as its answer. A value of None means that this cannot be right, as with two letters.

    `clean` if the text is the answer itself, not a sentence that contains it.
    """

    value: T | None
    text: str
    clean: bool = True


Reader = Callable[[str], Reading[T] | None]


@dataclass(frozen=True)
class _Mark:
    """Words that announce an answer, and what follows; `end` is where that ends in the text."""

    start: int
    end: int
    answer: str
    strong: bool


def marked_answer(
    text: str, read: Reader[T], *, cut: bool = False, statement: re.Pattern[str] | None = None
) -> Reading[T] | None:
    """The answer that a text marks as such; None if it marks none that `read` can read.

    A label or a box decides, and after these what follows a change of mind. Otherwise it is the last "the
    answer is", or the last `statement`, one of whose groups is the answer. If the text is cut, only a label
    or box counts that does not end it, because more digits may have been to come.
    """
    marks = _latest_marks(text, statement)
    readings = [(mark, reading) for mark in marks if (reading := read(mark.answer)) is not None]
    strong = [(mark, reading) for mark, reading in readings if mark.strong and reading.clean]
    end = len(text.rstrip())
    if cut:
        return next((reading for mark, reading in reversed(strong) if mark.end < end), None)
    latest = readings[-1] if readings else None
    if strong and latest:
        between = text[strong[-1][0].end : latest[0].start]
        return latest[1] if _REVISION.search(between[:_LONGEST]) else strong[-1][1]
    if marks and marks[-1].strong and marks[-1].end >= end and (not latest or latest[0] is not marks[-1]):
        return Reading(None, marks[-1].answer.strip())
    return latest[1] if latest else None


def _latest_marks(text: str, statement: re.Pattern[str] | None) -> list[_Mark]:
    kinds = ((_LABEL, _label), (_BOX, _box), (_PROSE, _prose), (statement, _stated))
    found = [
        [(match, mark_of) for match in deque(pattern.finditer(text), _LATEST)]
        for pattern, mark_of in kinds
        if pattern
    ]
    latest = sorted(chain.from_iterable(found), key=lambda pair: pair[0].start())[-_LATEST:]
    return [mark_of(text, match) for match, mark_of in latest]


def _label(text: str, found: re.Match[str]) -> _Mark:
    return _following(text, found, strong=True)


def _prose(text: str, found: re.Match[str]) -> _Mark:
    return _following(text, found, strong=False)


def _stated(_: str, found: re.Match[str]) -> _Mark:
    return _Mark(found.start(), found.end(), found[found.lastindex or 0], strong=False)


def _following(text: str, found: re.Match[str], *, strong: bool) -> _Mark:
    """What follows a mark on its line, or on the next one if nothing does."""
    start = found.end()
    end = _line_end(text, start)
    if not text[start:end].strip(" \t*_:.\\[]"):
        while start < len(text) and start - found.end() < _LONGEST and text[start] in " \t\n*_:.\\[]":
            start += 1
        bullet = _BULLET.match(text, start)
        start = bullet.end() if bullet else start
        end = _line_end(text, start)
    more = _LETTER_LINES.match(text, end)
    end = more.end() if more else end
    answer = text[start:end].partition("</answer>")[0]
    if '"' in found[0] and (json := _JSON_TEXT.match(answer)):
        answer = json[1]
    return _Mark(found.start(), end, answer, strong)


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start, start + _LONGEST)
    return min(len(text), start + _LONGEST) if end < 0 else end


def _box(text: str, found: re.Match[str]) -> _Mark:
    depth, start = 1, found.end()
    for position in range(start, min(len(text), start + _LONGEST)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return _Mark(found.start(), position, text[start:position], strong=True)
    return _Mark(found.start(), _line_end(text, start), text[start : _line_end(text, start)], strong=True)


_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def sentences_from_end(text: str, limit: int = 60) -> Iterator[str]:
    """Yield the last sentences of a text, the last one first."""
    latest = deque((part for part in _SENTENCE_END.split(text) if part.strip()), limit)
    for sentence in reversed(latest):
        shown = sentence[:_LONGEST].strip()
        bullet = _BULLET.match(shown)
        yield shown[bullet.end() :] if bullet else shown
