"""Instructions in the system message that change what every answer looks like."""

from collections.abc import Callable
from dataclasses import dataclass

from nano.draw import Draw
from nano.split import wordings
from nano.turn import Analysis, Turn

UPPER = wordings(
    "Answer in upper case.",
    "Answer in capital letters.",
    "Always answer in upper case.",
    "Always answer in capital letters.",
    "Write every answer in upper case.",
    "Write all answers in capital letters.",
    "Please answer in upper case.",
    "Use only capital letters.",
    "All your answers must be in upper case.",
)
LOWER = wordings(
    "Answer in lower case.",
    "Always answer in lower case.",
    "Write every answer in lower case.",
    "Write all answers in lower case.",
    "Please answer in lower case.",
    "Use only lower case letters.",
    "Use no capital letters.",
    "All your answers must be in lower case.",
)
ONE_WORD = wordings(
    "Answer with one word.",
    "Answer in one word.",
    "Always answer with one word.",
    "Every answer must be one word.",
    "Please answer with one word only.",
    "Use only one word for every answer.",
    "Give answers of one word.",
    "All your answers must be one word.",
)
ENDING = wordings(
    "End every answer with the word {ending}.",
    "End every answer with {ending}.",
    "End all answers with the word {ending}.",
    "Always end your answer with {ending}.",
    "Always end with the word {ending}.",
    "Please end every answer with {ending}.",
    "Every answer must end with the word {ending}.",
    "All your answers must end with {ending}.",
)
PLAIN = wordings(
    "You are a helpful assistant.",
    "You are nano.",
    "You are a small model.",
    "Be helpful.",
    "Answer the user.",
    "Please help the user.",
    "You are nano, a helpful assistant.",
)
WORDINGS = (UPPER, LOWER, ONE_WORD, ENDING, PLAIN)


@dataclass(frozen=True)
class Rule:
    """An instruction, what it makes of an answer, and how it is thought of."""

    instruction: str
    obeyed: Callable[[Turn], str]
    note: str


def plain(draw: Draw) -> Rule:
    """An instruction that changes nothing."""
    return Rule(draw.say(PLAIN), _text, "")


def rule(draw: Draw) -> Rule:
    which = draw.number(0, 3)
    if which == 0:
        return Rule(draw.say(UPPER, anew=True), lambda turn: _text(turn).upper(), "I answer in upper case.")
    if which == 1:
        return Rule(draw.say(LOWER, anew=True), lambda turn: _text(turn).lower(), "I answer in lower case.")
    if which == 2:
        return Rule(draw.say(ONE_WORD, anew=True), lambda turn: turn.word, "I answer with one word.")
    ending = draw.one(("OK", "OK", "done", "thanks")) if draw.chance(0.85) else draw.noun()
    instruction = draw.say(ENDING, {"ending": ending}, anew=True)
    return Rule(instruction, lambda turn: f"{_text(turn)} {ending}", f"I end with {ending}.")


def noted(analysis: Analysis, rule: Rule) -> Analysis:
    """The analysis with the rule in mind."""
    if not rule.note:
        return analysis
    return Analysis(
        f"{analysis.medium} {rule.note}", f"{analysis.high} There is a rule for all answers. {rule.note}"
    )


def _text(turn: Turn) -> str:
    assert isinstance(turn.answer, str)
    return turn.answer
