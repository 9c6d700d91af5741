"""An answer to grade, and its grade."""

from dataclasses import dataclass

from ossctl.app.eval.results import Outcome


@dataclass(frozen=True)
class Answer:
    """The text of a model's answer, without its reasoning; `cut` if a token limit ended it."""

    text: str
    cut: bool = False


@dataclass(frozen=True)
class Grade:
    """The grade of an answer; `score` is from 0 to 1, `given` is what was read as the final answer.

    `explanation` says for people why the grade is what it is, if that is not plain from `given`.
    """

    outcome: Outcome
    score: float = 0.0
    given: str = ""
    explanation: str = ""


def graded(*, right: bool, given: str, explanation: str = "") -> Grade:
    return Grade("correct" if right else "wrong", float(right), given, explanation)


def without_answer(answer: Answer) -> Grade | None:
    """The grade of an answer that has no text, or that was cut before the end of its reasoning."""
    if answer.text.strip():
        return None
    if answer.cut:
        return Grade("truncated", explanation="the token limit was reached before the answer")
    return Grade("failed", explanation="the model gave no answer")
