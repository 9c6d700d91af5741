"""Reads the number that an answer gives."""

import re
from collections.abc import Sequence
from itertools import islice

from ossctl.app.eval.grading.final_answer import Reading, marked_answer, sentences_from_end
from ossctl.app.eval.grading.numbers import Number, number_from_words, numbers_in
from ossctl.app.eval.grading.plain_text import normal, plain, without_thinking

_UNIT = 3  # characters around a number that is a line of its own
_MANY = 40  # numbers of a sentence that are looked at

_NO_ANSWER = re.compile(
    r"\b(?:not|isn't|between|either|neither|(?:more|less|fewer|greater) than|no|unknown)\b|[<>≤≥≠±]",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"(?:\W|\b(?:the|a|an|is|are|it|that|about|approximately|approx|around|exactly|roughly|nearly|almost|only"
    r"|just|total|of|to|be|therefore|thus|so|final|answer|number|value|result|simply|equals?|usd|eur"
    r"|[a-z]_?\d?)\b)*",
    re.IGNORECASE,
)
_SECOND = re.compile(r"\s*(?:,|;|or|and|to|&|/|vs\.?)\s*(?:or|and)?\s*[-+(]?\Z", re.IGNORECASE)
_OR = re.compile(r"\s*,?\s*or\s*", re.IGNORECASE)
_OPERATOR = re.compile(r"\s*[-+*/×÷·^]\s*\(?\Z")
_FORMULA_AFTER = re.compile(r"\s*(?:[-+*/×÷·^]\s*\(?\d|[-+*×÷·^]\s*\(?[b-hj-z]\b)", re.IGNORECASE)
_FORMULA_BEFORE = re.compile(r"\b[b-hj-z]\s*[-+*×÷·^]\s*\(?\Z", re.IGNORECASE)
_ANGLES = re.compile(r"\s*<([^<>]*)>\s*")
_ASSIGNMENT = re.compile(r"\b([a-z])\s?=\s?[-+]?\d", re.IGNORECASE)
_CUE = re.compile(
    r"\b(?:is|are|was|were|be|has|have|had|gives?|makes?|made|gets?|leaves?|left with|totals?|equals?|earns?"
    r"|needs?|costs?|pays?|takes?|so|thus|hence|therefore|sum of|total of|there)\s+"
    r"(?:only |about |exactly |a total of )?\Z",
    re.IGNORECASE,
)
_HEADLINE = re.compile(r"\s*(\S.*)\n(?=[ \t]*\n|[ \t]*(?:because|explanation|reason))", re.IGNORECASE)
_ASIDE = re.compile(
    r"\b(?:in|for|after|per|by|of|from|within|every|on|to|at|with)\s+(?:the |only )?\Z", re.IGNORECASE
)
_STATEMENT = re.compile(
    r"(?<![\w.,])([-+]?\d[\d.,/]{0,40})\s(?:is|was)\s(?:the|my|your)\s(?:final\s|correct\s|right\s)?(?:answer|result|total)\b",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")


def number_answer(text: str, *, cut: bool = False) -> Reading[Number] | None:
    """The number that a text gives as its final answer; None if there is none, or if it was cut before."""
    text = without_thinking(text)
    shown = plain(text)
    marked = marked_answer(shown, _read, cut=cut, statement=_STATEMENT)
    if marked is not None or cut:
        return marked
    headline = _HEADLINE.match(shown)
    for line in (shown.rstrip().rpartition("\n")[2], headline[1] if headline else ""):
        if (reading := _read(line)) and reading.clean and len(line.strip()) - len(reading.text) <= _UNIT:
            return reading
    for found in reversed(list(_BOLD.finditer(normal(text)))[-_MANY:]):
        if (reading := _read(plain(found[1]))) and reading.clean:
            return reading
    for sentence in sentences_from_end(shown):
        if (reading := _from_sentence(sentence)) is not None:
            return reading
    return None


def _read(answer: str) -> Reading[Number] | None:
    """Read what follows a mark: a number, perhaps with a unit, an equation, or a sentence."""
    angles = _ANGLES.fullmatch(answer)
    answer = angles[1] if angles else answer
    found = list(islice(numbers_in(answer), _MANY))
    if not found:
        return _in_words(answer)
    if _contradicts(answer, found):
        return Reading(None, answer.strip())
    if "=" in answer or "≈" in answer:
        return _from_equation(answer)
    first = found[0]
    if not _is_hedge(answer[: first.start]):
        reading = _from_sentence(answer)
        return reading and Reading(reading.value, reading.text, clean=len(found) == 1)
    return Reading(first, first.text, clean=not answer[first.end :].lstrip().startswith("?"))


def _in_words(answer: str) -> Reading[Number] | None:
    first = number_from_words(answer)
    if first is None:
        return None
    if _is_hedge(answer[: first.start]):
        return Reading(first, first.text)
    return _from_sentence(answer)


def _contradicts(answer: str, found: Sequence[Number]) -> bool:
    """Whether the answer is a bound, several numbers, or a calculation without its result."""
    first = found[0]
    before, after = answer[: first.start], answer[first.end :]
    if _NO_ANSWER.search(before) or len({*_ASSIGNMENT.findall(answer)}) > 1:
        return True
    if not _is_hedge(before) or "=" in answer or "≈" in answer:
        return False
    if _FORMULA_AFTER.match(after) or _FORMULA_BEFORE.search(
        before + (first.text[0] if first.text[0] in "+-" else "")
    ):
        return True
    if len(found) == 1 or found[1].value == first.value:
        return False
    return _SECOND.match(after[: found[1].start - first.end]) is not None


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
        worded = number_from_words(sentence, last=True)
        return Reading(worded, worded.text, clean=False) if worded else None
    found = found[-_MANY:]
    if len(found) > 1 and _OR.fullmatch(sentence[found[-2].end : found[-1].start]):
        return Reading(None, sentence)
    cued = [number for number in found if _CUE.search(sentence[max(0, number.start - 40) : number.start])]
    main = [
        number for number in found if not _ASIDE.search(sentence[max(0, number.start - 40) : number.start])
    ]
    number = (cued or main or found)[-1]
    return Reading(number, number.text, clean=False)
