"""Sets of questions for evaluations, made up by seeded programs: word problems, and choices.

`python -m tests.support.questions FOLDER` writes both as JSON lines.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

COUNT = 200

_NAMES = ("Ada", "Bo", "Cleo", "Dev", "Elif", "Femi", "Gus", "Hana", "Ines", "Jun")
_THINGS = ("apples", "books", "stamps", "marbles", "tickets", "pencils", "cards", "shells")


def word_problems(count: int = COUNT, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Problems whose answers are numbers, in the form of GSM8K: the last line is `#### N`."""
    random = Random(seed)
    kinds = (_shopping, _sharing, _saving, _travel, _discount)
    asked: set[str] = set()
    while len(asked) < count:
        question, steps, answer = kinds[len(asked) % len(kinds)](random)
        if question not in asked:
            asked.add(question)
            solution = "\n".join([*steps, f"#### {answer}"])
            yield {"id": f"word-{len(asked):03}", "question": question, "answer": solution}


def _shopping(random: Random) -> tuple[str, list[str], str]:
    name, thing = random.choice(_NAMES), random.choice(_THINGS)
    had, bags, each, gave = (random.randint(low, high) for low, high in ((3, 30), (2, 9), (2, 12), (1, 5)))
    bought = bags * each
    text = (
        f"{name} has {had} {thing}, buys {bags} bags with {each} {thing} each, and gives {gave} {thing} away."
    )
    steps = [f"{bags} * {each} = {bought}", f"{had} + {bought} - {gave} = {had + bought - gave}"]
    return f"{text} How many {thing} does {name} have now?", steps, str(had + bought - gave)


def _sharing(random: Random) -> tuple[str, list[str], str]:
    name, thing = random.choice(_NAMES), random.choice(_THINGS)
    each, friends, left = random.randint(3, 15), random.randint(2, 8), random.randint(1, 9)
    total = each * friends + left
    text = (
        f"{name} has {total:,} {thing}, keeps {left} and shares the others equally among {friends} friends."
    )
    steps = [f"{total} - {left} = {total - left}", f"{total - left} / {friends} = {each}"]
    return f"{text} How many {thing} does each friend get?", steps, str(each)


def _saving(random: Random) -> tuple[str, list[str], str]:
    name, a_week, weeks, spent = (
        random.choice(_NAMES),
        random.randint(5, 60) * 5,
        random.randint(4, 20),
        random.randint(1, 900),
    )
    saved = a_week * weeks
    text = f"{name} saves ${a_week} a week for {weeks} weeks, and then buys a bicycle for ${spent}."
    steps = [f"{a_week} * {weeks} = {saved}", f"{saved} - {spent} = {saved - spent}"]
    return f"{text} How many dollars are left? A negative number means debt.", steps, f"{saved - spent:,}"


def _travel(random: Random) -> tuple[str, list[str], str]:
    speed, halves = random.randint(4, 30) * 2, random.randint(3, 11)
    hours = f"{halves // 2}.5" if halves % 2 else str(halves // 2)
    text = f"A train goes {speed} km in an hour. How many kilometres does it go in {hours} hours?"
    return text, [f"{speed} * {hours} = {speed * halves // 2}"], str(speed * halves // 2)


def _discount(random: Random) -> tuple[str, list[str], str]:
    price, percent = random.randint(2, 40) * 10, random.choice((5, 10, 20, 25, 50))
    cents = price * (100 - percent)
    answer = f"{cents / 100:.2f}".removesuffix(".00")
    text = f"A coat costs ${price}. In a sale, it is {percent}% cheaper. What does it cost then, in dollars?"
    return text, [f"{price} * (1 - {percent} / 100) = {answer}"], answer


def choice_questions(count: int = COUNT, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Questions with four choices, as in MMLU: `answer` is the index of the right one, from 0."""
    random = Random(seed)
    kinds = (_largest, _odd_one, _alphabet, _opposite, _sequence)
    for number in range(count):
        question, right, wrong = kinds[number % len(kinds)](random)
        choices = [right, *wrong]
        random.shuffle(choices)
        subject = kinds[number % len(kinds)].__name__.strip("_")
        fields = {"question": question, "choices": choices, "answer": choices.index(right)}
        yield {"id": f"choice-{number + 1:03}", "subject": subject, **fields}


def _largest(random: Random) -> tuple[str, str, Sequence[str]]:
    values = sorted(random.sample(range(100, 9_999), 4))
    which, right = random.choice((("largest", values[-1]), ("smallest", values[0])))
    wrong = [f"{value:,}" for value in values if value != right]
    return f"Which number is the {which}?", f"{right:,}", wrong


_KINDS = {
    "an animal": ("horse", "eagle", "salmon", "beetle", "otter"),
    "a fruit": ("apple", "pear", "plum", "cherry", "mango"),
    "a tool": ("hammer", "saw", "chisel", "wrench", "pliers"),
    "a drink": ("tea", "coffee", "milk", "juice", "water"),
    "a metal": ("iron", "copper", "tin", "silver", "zinc"),
}


def _odd_one(random: Random) -> tuple[str, str, Sequence[str]]:
    kind, other = random.sample(sorted(_KINDS), 2)
    return f"Which of these is not {kind}?", random.choice(_KINDS[other]), random.sample(_KINDS[kind], 3)


def _alphabet(random: Random) -> tuple[str, str, Sequence[str]]:
    words = sorted(random.sample([word for group in _KINDS.values() for word in group], 4))
    which, right = random.choice((("first", words[0]), ("last", words[-1])))
    return f"Which word comes {which} in a dictionary?", right, [word for word in words if word != right]


_OPPOSITES = (
    *(("hot", "cold"), ("big", "small"), ("early", "late"), ("full", "empty"), ("light", "dark")),
    *(("fast", "slow"), ("high", "low"), ("rich", "poor"), ("wet", "dry"), ("open", "closed")),
)


def _opposite(random: Random) -> tuple[str, str, Sequence[str]]:
    (word, right), *others = random.sample(_OPPOSITES, 4)
    return f'What is the opposite of "{word}"?', right, [random.choice(pair) for pair in others]


def _sequence(random: Random) -> tuple[str, str, Sequence[str]]:
    start, step = random.randint(1, 30), random.randint(2, 12)
    shown = ", ".join(str(start + step * index) for index in range(4))
    right = start + step * 4
    wrong = [str(right + off) for off in random.sample((-step, -1, 1, 2, step + 1), 3)]
    return f"Which number comes next: {shown}, …?", str(right), wrong


def write_questions(path: Path, questions: Iterator[dict[str, Any]]) -> Path:
    lines = [json.dumps(question, ensure_ascii=False) for question in questions]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    write_questions(Path(sys.argv[1]) / "word-problems.jsonl", word_problems())
    write_questions(Path(sys.argv[1]) / "choices.jsonl", choice_questions())
