"""What the tasks are made of, bare and dense: copying, spelling, counting, sums.

Conversations teach little before the model can look up what was said; drills teach just that. A few hundred
steps of them first, and some among the conversations, take the place of thousands.
"""

from collections.abc import Callable, Iterator, Sequence

from nano.draw import Draw
from nano.kinds.spelling import sentence, spelt
from nano.packing import Pack, Row
from nano.tokenizer import NanoTokenizer

# What is given and what is to follow it, piece by piece.
Drill = Iterator[tuple[str, str]]

_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_FURTHEST = 600  # the position of a drill's first token


def copying(draw: Draw) -> Drill:
    """Some strings, then any of them after its first character."""
    words = ["".join(draw.random.choices(_CHARACTERS, k=draw.number(2, 8))) for _ in range(draw.number(1, 4))]
    for word in words:
        yield f'"{word}"', ""
    for _ in range(6):
        word = draw.one(words)
        yield f" {word[0]}", f'{word[1:]}"'


def sums(draw: Draw) -> Drill:
    for _ in range(6):
        a, b = draw.pair()
        if draw.chance(0.5):
            yield f"{a} + {b} =", f" {a + b}."
        else:
            a, b = (b, a) if a < b and draw.chance(0.5) else (a, b)
            yield f"{a} - {b} =", f" {a - b}."


def reversing(draw: Draw) -> Drill:
    for _ in range(3):
        word = draw.word()
        if draw.chance(0.7):
            yield f"{draw.quoted(word)} backwards: ", f"{word[::-1]}."
        else:
            yield f"{spelt(word)}, backwards", f" {spelt(word[::-1])}."


def capitals(draw: Draw) -> Drill:
    for _ in range(3):
        text = draw.phrase(2)
        if draw.chance(0.7):
            yield f"{draw.quoted(text)} capitals: ", f"{text.upper()}."
        else:
            yield f"{spelt(text)}, capitals", f" {spelt(text.upper())}."


def spelling(draw: Draw) -> Drill:
    for _ in range(3):
        text = draw.phrase(2)
        yield f"{draw.quoted(text)} is", f" {spelt(text)}."


def counting(draw: Draw) -> Drill:
    for _ in range(2):
        words = sentence(draw)
        yield f"{draw.quoted(' '.join(words))} words: ", f"{len(words)}."


_KINDS: dict[Callable[[Draw], Drill], int] = {
    copying: 35,
    sums: 25,
    reversing: 15,
    capitals: 8,
    spelling: 8,
    counting: 9,
}


def drill_rows(tokenizer: NanoTokenizer, length: int, seed: int) -> Iterator[Row]:
    """Endless rows of drills, each of which sees itself alone."""
    draw = Draw(seed, held_out=False)
    pack = Pack([], 0)
    while True:
        tokens, taught = _tokens(tokenizer, list(draw.random.choices(*_weighted())[0](draw)))
        if len(pack.tokens) + len(tokens) > length:
            yield pack.row(length)
            pack = Pack([], 0)
        pack.add(tokens, draw.number(0, _FURTHEST), 0, taught)


def _weighted() -> tuple[Sequence[Callable[[Draw], Drill]], Sequence[int]]:
    return tuple(_KINDS), tuple(_KINDS.values())


def _tokens(tokenizer: NanoTokenizer, drill: list[tuple[str, str]]) -> tuple[list[int], list[bool]]:
    tokens, taught = [], []
    for given, wanted in drill:
        for text, learnt in ((given, False), (wanted, True)):
            ids = tokenizer.tokenize(text)
            tokens += ids
            taught += [learnt] * len(ids)
        newline = tokenizer.tokenize("\n") if drill[0][1] else []  # none between copies
        tokens += newline
        taught += [False] * len(newline)
    return tokens, taught
