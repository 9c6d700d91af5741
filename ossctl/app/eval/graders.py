"""Grades answers: choice, number, exact, regex and schema are pure; the others run a program or a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from ossctl.app.eval.grading.choice_answer import choice_answer
from ossctl.app.eval.grading.grade import Answer, Grade, graded, without_answer
from ossctl.app.eval.grading.number_answer import number_answer
from ossctl.app.eval.grading.numbers import number_of, same_number
from ossctl.app.eval.grading.plain_text import without_thinking
from ossctl.app.eval.grading.text_answer import grade_exact, grade_formula, grade_regex
from ossctl.app.eval.question import GraderName, Question
from ossctl.app.inference.schema_check import misfit
from ossctl.app.user_text import first_code_block

_CUT = Grade("truncated", explanation="the token limit was reached before the answer was complete")


def grade(question: Question, answer: Answer) -> Grade:
    """Grade an answer by the question's grader, which is one that needs no program or model."""
    match question.grader:
        case GraderName.CHOICE:
            return grade_choice(answer, question.targets, question.choices)
        case GraderName.NUMBER:
            return grade_number(answer, question.targets, question.tolerance)
        case GraderName.EXACT:
            return without_answer(answer) or grade_exact(answer, question.targets)
        case GraderName.REGEX:
            return without_answer(answer) or grade_regex(answer, question.targets)
        case GraderName.SCHEMA:
            return grade_schema(answer, question.schema or {})
        case _:
            raise ValueError(f"{question.grader} does not grade by itself")


def grade_choice(answer: Answer, targets: Sequence[str], choices: Sequence[str]) -> Grade:
    """Correct if the letter of the final answer is one of `targets`."""
    if early := without_answer(answer):
        return early
    reading = choice_answer(answer.text, choices, cut=answer.cut)
    if reading is None or reading.value is None:
        return _without_reading(answer, reading.text if reading else "", "no choice")
    return graded(right=reading.value in targets, given=reading.value)


def grade_number(answer: Answer, targets: Sequence[str], tolerance: float = 0.0) -> Grade:
    """Correct if the number of the final answer equals one of `targets`, which are numbers."""
    if early := without_answer(answer):
        return early
    reading = number_answer(answer.text, cut=answer.cut)
    if reading is None or reading.value is None:
        return _without_reading(answer, reading.text if reading else "", "no number")
    given = reading.value
    wanted = [number for target in targets if (number := number_of(target)) is not None]
    return graded(right=any(same_number(given, right, tolerance) for right in wanted), given=given.text)


def grade_math(answer: Answer, targets: Sequence[str]) -> Grade:
    """As `grade_number` if the targets are numbers, else correct if the final answer is the same formula."""
    if all(map(number_of, targets)):
        return grade_number(answer, targets)
    return without_answer(answer) or grade_formula(answer, targets)


def grade_schema(answer: Answer, schema: Mapping[str, Any]) -> Grade:
    """Correct if the answer is JSON that fits `schema`, alone or in its first code block."""
    if early := without_answer(answer):
        return early
    if answer.cut:
        return _CUT
    text = without_thinking(answer.text)
    block = first_code_block(text)
    json = (text if block is None else block).strip()
    reason = misfit(json, schema)
    return graded(right=not reason, given=json[:500], explanation=reason)


def _without_reading(answer: Answer, given: str, what: str) -> Grade:
    if answer.cut:
        return _CUT
    explanation = f"the answer gives {what}, or more than one"
    return graded(right=False, given=given[:500], explanation=explanation)
