"""Instructions in the system message that change what every answer looks like."""

from collections.abc import Callable
from dataclasses import dataclass

from tools.nano.draw import Draw
from tools.nano.split import Wordings, wordings
from tools.nano.turn import Analysis, Turn

_HEADS = (
    "Answer {}.",
    "Answer only {}.",
    "Answer me {}.",
    "Always answer {}.",
    "Please answer {}.",
    "Please always answer {}.",
    "Answer all questions {}.",
    "Answer every question {}.",
    "Reply {}.",
    "Always reply {}.",
    "Please reply {}.",
    "You answer {}.",
    "You always answer {}.",
    "You must answer {}.",
    "You must always answer {}.",
    "I want you to answer {}.",
    "Give all answers {}.",
    "Give every answer {}.",
)


def _ways(styles: tuple[str, ...], *others: str) -> Wordings:
    return wordings(*(head.format(style) for head in _HEADS for style in styles), *others)


UPPER = _ways(
    ("in upper case", "in capital letters", "in capitals"),
    "Write every answer in upper case.",
    "Write all answers in capital letters.",
    "Use only capital letters.",
    "Use upper case for all answers.",
    "All your answers must be in upper case.",
    "Every answer must be in capital letters.",
)
LOWER = _ways(
    ("in lower case", "in lower case letters", "in small letters"),
    "Write every answer in lower case.",
    "Write all answers in small letters.",
    "Use only lower case letters.",
    "Use no capital letters.",
    "Use lower case for all answers.",
    "All your answers must be in lower case.",
    "Every answer must be in small letters.",
)
ONE_WORD = _ways(
    ("with one word", "in one word", "with one word only"),
    "Every answer must be one word.",
    "Use only one word for every answer.",
    "Use one word for all answers.",
    "Write one word for every answer.",
    "Give answers of one word.",
    "All your answers must be one word.",
)
ENDING = wordings(
    *(
        f"{verb} {answers} with {ending}."
        for verb in ("End", "Always end", "Please end", "Finish", "You must end")
        for answers in ("every answer", "all answers", "all your answers", "your answer")
        for ending in ("{ending}", "the word {ending}")
    ),
    "Always end with the word {ending}.",
    "Every answer must end with the word {ending}.",
    "All your answers must end with {ending}.",
    "All answers end with {ending}.",
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
    which = draw.number(0, 4)
    if which == 0:
        return Rule(draw.say(UPPER, anew=True), lambda turn: _text(turn).upper(), "I answer in upper case.")
    if which == 1:
        return Rule(draw.say(LOWER, anew=True), lambda turn: _text(turn).lower(), "I answer in lower case.")
    if which <= 3:
        return Rule(draw.say(ONE_WORD, anew=True), lambda turn: turn.word, "I answer with one word.")
    ending = draw.one(("OK", "OK", "done", "thanks")) if draw.chance(0.7) else draw.noun()
    instruction = draw.say(ENDING, {"ending": ending}, anew=True)
    return Rule(instruction, lambda turn: f"{_text(turn)} {ending}", f"I end with {ending}.")


def noted(analysis: Analysis, rule: Rule) -> Analysis:
    """The analysis with the rule in mind."""
    if not rule.note:
        return analysis
    return Analysis(
        f"{rule.note} {analysis.medium}", f"There is a rule for all answers. {rule.note} {analysis.high}"
    )


def _text(turn: Turn) -> str:
    assert isinstance(turn.answer, str)
    return turn.answer
