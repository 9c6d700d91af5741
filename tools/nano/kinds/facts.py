"""Questions about what nano knows."""

from dataclasses import dataclass

from tools.nano.draw import Draw
from tools.nano.fact_list import (
    AMOUNTS,
    CAPITALS,
    COLOURS_OF_THINGS,
    DAYS,
    MONTHS,
    OPPOSITES,
    SOUNDS,
    YOUNG,
    both_ways,
    next_of,
)
from tools.nano.split import Wordings, wordings
from tools.nano.turn import Analysis, Turn


@dataclass(frozen=True)
class Relation:
    """Facts of one sort: {key} and {value} in the answer and in what is asked; `share` of the questions."""

    facts: dict[str, str]
    ways: Wordings
    asked: str
    answer: str
    share: float


RELATIONS = (
    Relation(
        CAPITALS,
        wordings(
            "What is the capital of {key}?",
            "What is the capital city of {key}?",
            "Which city is the capital of {key}?",
            "Name the capital of {key}.",
            "Tell me the capital of {key}.",
            "Please tell me the capital of {key}.",
            "Do you know the capital of {key}?",
            "The capital of {key}?",
            "What is {key}'s capital?",
            "Please name the capital city of {key}.",
        ),
        "The capital of {key}",
        "The capital of {key} is {value}.",
        0.36,
    ),
    Relation(
        COLOURS_OF_THINGS,
        wordings(
            "What colour is {key}?",
            "What color is {key}?",
            "Which colour is {key}?",
            "Which color is {key}?",
            "Tell me the colour of {key}.",
            "What is the colour of {key}?",
            "What is the color of {key}?",
            "Do you know what colour {key} is?",
        ),
        "The colour of {key}",
        "The colour of {key} is {value}.",
        0.12,
    ),
    Relation(
        both_ways(OPPOSITES),
        wordings(
            "What is the opposite of {key}?",
            "What is the opposite of the word {key}?",
            "Tell me the opposite of {key}.",
            "Name the opposite of {key}.",
            "Which word is the opposite of {key}?",
            "The opposite of {key}?",
            "Do you know the opposite of {key}?",
        ),
        "The opposite of {key}",
        "The opposite of {key} is {value}.",
        0.14,
    ),
    Relation(
        YOUNG,
        wordings(
            "What is a young {key} called?",
            "What do you call a young {key}?",
            "What is the name of a young {key}?",
            "Tell me what a young {key} is called.",
            "A young {key} is called what?",
            "Which word do you use for a young {key}?",
        ),
        "The young of a {key}",
        "A young {key} is called a {value}.",
        0.08,
    ),
    Relation(
        SOUNDS,
        wordings(
            "What does a {key} say?",
            "What sound does a {key} make?",
            "Which sound does a {key} make?",
            "What is the sound of a {key}?",
            "Tell me what a {key} says.",
            "Tell me the sound that a {key} makes.",
        ),
        "The sound of a {key}",
        "A {key} says {value}.",
        0.08,
    ),
    Relation(
        next_of(DAYS) | next_of(MONTHS),
        wordings(
            "What comes after {key}?",
            "What is after {key}?",
            "Which one comes after {key}?",
            "Which one is next after {key}?",
            "What comes next after {key}?",
            "Tell me what comes after {key}.",
            "Name what comes after {key}.",
        ),
        "What comes after {key}",
        "{value} comes after {key}.",
        0.14,
    ),
    Relation(
        AMOUNTS,
        wordings(
            "How many {key}?",
            "How many {key} are there?",
            "Tell me how many {key} there are.",
            "What is the number of {key}?",
            "Tell me the number of {key}.",
            "Do you know the number of {key}?",
        ),
        "The number of {key}",
        "There are {value} {key}.",
        0.08,
    ),
)
WORDINGS = tuple(relation.ways for relation in RELATIONS)


def facts(draw: Draw) -> Turn:
    relation = draw.random.choices(RELATIONS, [relation.share for relation in RELATIONS])[0]
    key, value = draw.one(tuple(relation.facts.items()))
    question = draw.say(relation.ways, {"key": key}, anew=True)
    answer = relation.answer.format(key=key, value=value)
    asked = relation.asked.format(key=key)
    analysis = Analysis(
        f"{asked}: {value}.",
        f"The user wants one fact: {asked[0].lower()}{asked[1:]}. I know it: {value}. So I say: {answer}",
    )
    return Turn(question, answer, analysis, value)
