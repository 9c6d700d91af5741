"""Compares an answer with a text, and searches it for a pattern."""

import re
from collections.abc import Callable, Iterator, Sequence

import regex

from ossctl.app.eval.grading.final_answer import Reading, marked_answer
from ossctl.app.eval.grading.grade import Answer, Grade, graded
from ossctl.app.eval.grading.plain_text import plain, without_thinking

_PATTERN_SECONDS = 2.0
_FENCE = re.compile(r"\A\s*```[^\n`]*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_IN_BRACKETS = re.compile(r"\s*\([^()]*\)\s*\Z")
_EDGES = " \t\n\"'.,;:!?"


def grade_exact(answer: Answer, targets: Sequence[str]) -> Grade:
    """Correct if the final answer is one of `targets`, apart from case, spaces and the punctuation around.

    The final answer follows a mark such as "ANSWER:". Without one, it is the whole text, or its last line.
    """
    return _grade_text(answer, targets, _comparable)


def grade_formula(answer: Answer, targets: Sequence[str]) -> Grade:
    """As `grade_exact`, but without spaces, and with case."""
    return _grade_text(answer, targets, _formula)


def _grade_text(answer: Answer, targets: Sequence[str], comparable: Callable[[str], str]) -> Grade:
    text = without_thinking(answer.text)
    fenced = _FENCE.match(text)
    shown = plain(fenced[1] if fenced else text)
    marked = marked_answer(shown, _read, cut=answer.cut)
    if marked is None and answer.cut:
        return Grade("truncated", explanation="the token limit was reached before the answer was complete")
    wanted = {comparable(plain(target)) for target in targets}
    given = [shown.strip(), shown.strip().rpartition("\n")[2]] if marked is None else [marked.text]
    right = any(form in wanted for text in given for form in _forms(text, comparable))
    return graded(right=right, given=given[-1][:500])


def grade_regex(answer: Answer, targets: Sequence[str]) -> Grade:
    """Correct if one of the patterns is found anywhere in the text."""
    if answer.cut:
        return Grade("truncated", explanation="the token limit was reached before the end of the answer")
    text = without_thinking(answer.text)
    for pattern in targets:
        try:
            found = regex.search(pattern, text, timeout=_PATTERN_SECONDS)
        except TimeoutError:
            return Grade("failed", explanation=f"the pattern took more than {_PATTERN_SECONDS:g} s")
        if found:
            return graded(right=True, given=found[0][:500])
    return graded(right=False, given=text.strip()[-500:])


def _read(answer: str) -> Reading[str] | None:
    text = answer.strip()
    return Reading(text, text) if text else None


def _forms(text: str, comparable: Callable[[str], str]) -> Iterator[str]:
    """The text as it is, and without what is in brackets at its end."""
    yield comparable(text)
    yield comparable(_IN_BRACKETS.sub("", text))


def _comparable(text: str) -> str:
    return " ".join(text.casefold().split()).strip(_EDGES) or text.strip()


def _formula(text: str) -> str:
    return "".join(text.split()).strip(_EDGES) or text.strip()
