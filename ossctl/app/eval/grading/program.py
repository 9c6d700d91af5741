"""Runs the user's program that grades an answer."""

import json
import re
from collections.abc import Callable, Sequence

from ossctl.app.eval.grading.grade import Grade, graded
from ossctl.app.eval.question import Question
from ossctl.app.tools.command import run_program

DEFAULT_SECONDS = 60.0

_SCORE = re.compile(r"[01]|0?\.\d+|[01]\.\d*")
_WRONG = 1  # the exit code


def grade_by_program(
    argv: Sequence[str], question: Question, answer: str, seconds: float, keep_going: Callable[[], bool]
) -> Grade:
    """Give the program the question, answer and targets as JSON on stdin; take its exit code as the grade.

    0 is correct and 1 is wrong. If it exits with 0 and its last line is a number from 0 to 1, that is the
    score. Anything else is a failure of the program.
    """
    fields = {
        "id": question.id,
        "question": question.text,
        "answer": answer,
        "target": question.targets[0] if len(question.targets) == 1 else list(question.targets),
        "choices": list(question.choices),
        "metadata": dict(question.metadata),
    }
    given = answer.strip()[-500:]
    ended = run_program(
        argv, json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace"), seconds, keep_going
    )
    if ended.problem:
        return Grade("failed", given=given, explanation=f"the grader {argv[0]}: {ended.problem}")
    printed = (ended.output.strip().splitlines() or [""])[-1].strip()
    said = (ended.errors.strip() or ended.output.strip())[-1000:]
    if ended.code == 0 and _SCORE.fullmatch(printed) and 0 <= float(printed) <= 1:
        score = float(printed)
        return Grade("correct" if score == 1 else "wrong", score, given, f"the grader gave {printed}")
    if ended.code == 0 or (ended.code == _WRONG and not _has_crashed(ended.errors)):
        return graded(right=ended.code == 0, given=given, explanation=said)
    return Grade("failed", given=given, explanation=f"the grader {argv[0]}: exit code {ended.code}: {said}")


def _has_crashed(errors: str) -> bool:
    """Whether Python has ended a program with exit code 1, and not because of an `assert`."""
    last = (errors.strip().splitlines() or [""])[-1]
    return "Traceback (most recent call last):" in errors and not last.startswith("AssertionError")
