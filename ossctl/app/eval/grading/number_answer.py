"""Reads the number that an answer gives."""

import re
from collections.abc import Sequence
from itertools import islice

from ossctl.app.eval.grading.final_answer import Reading, marked_answer, sentences_from_end
from ossctl.app.eval.grading.numbers import Number, number_from_words, numbers_in
from ossctl.app.eval.grading.plain_text import normal, plain, without_thinking

_MANY = 40  # numbers of a sentence that are looked at

_NO_ANSWER = re.compile(
    r"\b(?:not|isn't|between|either|neither|more than|less than|no)\b|[<>≤≥≠±]", re.IGNORECASE
)
_HEDGE = re.compile(
    r"(?:\W|\b(?:the|a|an|is|are|it|that|about|approximately|approx|around|exactly|roughly|nearly|almost|only"
    r"|just|total|of|to|be|therefore|thus|so|final|answer|number|value|result|simply|equals?|usd|eur"
    r"|[a-z]_?\d?)\b)*",
    re.IGNORECASE,
)
_SECOND = re.compile(r"\s*(?:,|;|or|and|to|&|/|vs\.?)\s*(?:or|and)?\s*[-+(]?\Z", re.IGNORECASE)
_OPERATOR = re.compile(r"\s*[-+*/×÷·^]\s*\(?\Z")
_ASSIGNMENT = re.compile(r"\b([a-z])\s?=\s?[-+]?\d", re.IGNORECASE)
_CUE = re.compile(
    r"\b(?:is|are|was|were|be|has|have|had|gives?|makes?|made|gets?|leaves?|left with|totals?|equals?|earns?"
    r"|needs?|costs?|pays?|takes?|so|thus|hence|therefore|sum of|total of|there)\s+"
    r"(?:only |about |exactly |a total of )?\Z",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")


def number_answer(text: str, *, cut: bool = False) -> Reading[Number] | None:
    """The number that a text gives as its final answer; None if there is none, or if it was cut before."""
    text = without_thinking(text)
    shown = plain(text)
    marked = marked_answer(shown, _read, cut=cut)
    if marked is not None or cut:
        return marked
    lines = [line for line in shown.split("\n") if line.strip()]
    for line in (lines[-1:] or [""]) + lines[:1]:
        if (reading := _read(line)) and reading.clean and _is_bare(line, reading):
            return reading
    for found in reversed(list(_BOLD.finditer(normal(text)))[-_MANY:]):
        if (reading := _read(plain(found[1]))) and reading.clean:
            return reading
    for sentence in sentences_from_end(shown):
        if (reading := _from_sentence(sentence)) is not None:
            return reading
    return None


def _is_bare(line: str, reading: Reading[Number]) -> bool:
    number = reading.value
    return number is not None and len(line.strip()) - len(number.text) <= 3


def _read(answer: str) -> Reading[Number] | None:
    """Read what follows a mark: a number, perhaps with a unit, an equation, or a sentence."""
    found = list(islice(numbers_in(answer), _MANY))
    if not found:
        worded = number_from_words(answer)
        return Reading(worded, worded.text, clean=_is_hedge(answer[: worded.start])) if worded else None
    if _contradicts(answer, found):
        return Reading(None, answer.strip())
    if "=" in answer or "≈" in answer:
        return _from_equation(answer)
    first = found[0]
    if not _is_hedge(answer[: first.start]):
        reading = _from_sentence(answer)
        return reading and Reading(reading.value, reading.text, clean=len(found) == 1)
    return Reading(first, first.text, clean=not answer[first.end :].lstrip().startswith("?"))


def _contradicts(answer: str, found: Sequence[Number]) -> bool:
    """Whether the answer is a bound, several numbers, or a calculation without its result."""
    first = found[0]
    if _NO_ANSWER.search(answer[: first.start]) or len({*_ASSIGNMENT.findall(answer)}) > 1:
        return True
    if len(found) == 1 or not _is_hedge(answer[: first.start]):
        return False
    between = answer[first.end : found[1].start]
    if _OPERATOR.match(between):
        return "=" not in answer and "≈" not in answer
    return _SECOND.match(between) is not None and found[1].value != first.value


def _is_hedge(text: str) -> bool:
    return _HEDGE.fullmatch(text[:200]) is not None


def _from_equation(answer: str) -> Reading[Number] | None:
    """The side of an equation that is one number, the last one first."""
    for side in reversed(re.split("[=≈]", answer)):
        found = list(islice(numbers_in(side), 2))
        if found and not (len(found) > 1 and _OPERATOR.match(side[found[0].end : found[1].start])):
            return Reading(found[0], found[0].text)
    return None


def _from_sentence(sentence: str) -> Reading[Number] | None:
    """The number that a sentence comes to: after its last equals sign, after its last verb, else the last."""
    if "=" in sentence:
        reading = _from_equation(sentence)
        if reading is not None:
            return reading
    found = list(numbers_in(sentence))
    if not found:
        worded = number_from_words(sentence)
        return Reading(worded, worded.text, clean=False) if worded else None
    found = found[-_MANY:]
    cued = [number for number in found if _CUE.search(sentence[max(0, number.start - 40) : number.start])]
    number = (cued or found)[-1]
    return Reading(number, number.text, clean=False)
