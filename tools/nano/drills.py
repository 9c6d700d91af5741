"""What the tasks are made of, bare and dense: copying, spelling, counting, sums.

Conversations teach little before the model can look up what was said; drills teach just that. A few hundred
steps of them first, and some among the conversations, take the place of thousands.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from tools.nano.draw import Draw
from tools.nano.kinds.arithmetic import difference_analysis, sum_analysis
from tools.nano.kinds.facts import facts
from tools.nano.kinds.spelling import numbered, sentence
from tools.nano.packing import Pack, Row
from tools.nano.tokenizer import NanoTokenizer
from tools.nano.words import COPIED

# What is given and what is to follow it, piece by piece.
Drill = Iterator[tuple[str, str]]

_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_KEYS = (
    "name",
    "age",
    "city",
    "text",
    "person",
    "to",
    "query",
    "place",
    "number",
    "word",
    "animal",
    "colour",
)
_BETWEEN = ("from", "and", "Take", "is", "-", "minus", "what", "has", "gives", "to", "Add", "the")
_SHORTEST, _LONGEST = 4, 30  # tokens that are copied
_FURTHEST = 600  # the position of a drill's first token
_DRESSED = 0.5  # share of drills that look like a message and an answer: or bare text alone would be copied
_ASKED, _ANSWERED = (
    ("<|start|>", "user", "<|message|>"),
    ("<|end|>", "<|start|>", "assistant", "<|channel|>", "final", "<|message|>"),
)


def copying(draw: Draw) -> Drill:
    """Some strings, then all of them again after the first."""
    strings = [_string(draw) for _ in range(draw.number(3, 10))]
    yield f" {' '.join(strings)}", ""
    for _ in range(2):
        yield f" {strings[0]}", "".join(f" {string}" for string in strings[1:])


def _string(draw: Draw) -> str:
    """Any token that is copied, those that the conversations hold out among them, or a few characters."""
    if draw.chance(0.6):
        return draw.one(COPIED)
    return "".join(draw.random.choices(_CHARACTERS, k=draw.number(2, 6)))


def looking_up(draw: Draw) -> Drill:
    """Keys with their values as in a text or in JSON; then some of the values, after their keys."""
    pairs = {_key(draw): _value(draw) for _ in range(draw.number(2, 5))}
    for text, value, mark in _noted(draw, list(pairs.items())):
        yield f"{text}{value}{mark}", ""
    for _ in range(2):
        for text, value, mark in _noted(draw, draw.shuffled(tuple(pairs.items()))[:4]):
            yield text, f"{value}{mark}"


def repeating(draw: Draw) -> Drill:
    """A few words, then all of them again, maybe in quotes or with a capital."""
    text = " ".join(_value(draw) for _ in range(draw.number(1, 4)))
    yield draw.one((f" {text}.", f'"{text}"', f" '{text}'", f"\n{text}")), ""
    for _ in range(2):
        before, after = draw.one((("", "."), ('"', '"'), (" '", "'"), ("\n", "\n")))
        yield (f":{before}", f"{text}{after}") if before else (":", f" {text}{after}")


def naming(draw: Draw) -> Drill:
    """Tools as in a developer message, then calls of them: the keys are told there alone."""
    tools: dict[str, list[str]] = {}
    for _ in range(draw.number(1, 3)):
        tools[draw.word()] = list(dict.fromkeys(_key(draw) for _ in range(draw.number(1, 2))))
    for name, keys in tools.items():
        listed = "".join(f"{key}: string,\n" for key in keys)
        yield f"type {name} = (_: {{\n{listed}}}) => any;\n", ""
    for name in draw.shuffled(tuple(tools)):
        values = {key: _value(draw) for key in tools[name]}
        arguments = json.dumps(values, separators=(",", ":"))
        yield f"I call {name} with {' '.join(values.values())}: ", arguments


def ordering(draw: Draw) -> Drill:
    """Two numbers among words, then both, as they were and turned round."""
    for _ in range(2):
        a, b = draw.pair()
        yield f" {draw.one(_BETWEEN)} {a} {draw.one(_BETWEEN)} {b}.", ""
        for sign in draw.shuffled("+-*/"):
            how, first, second = ("so", a, b) if draw.chance(0.6) else ("turned", b, a)
            yield f" {sign} {how}:", f" {first} {sign} {second}"


def sums(draw: Draw) -> Drill:
    for _ in range(6):
        a, b = draw.pair()
        sign = draw.one("+-")
        if sign == "-" and a < b and draw.chance(0.5):
            a, b = b, a
        analysis, result = (sum_analysis, a + b) if sign == "+" else (difference_analysis, a - b)
        if draw.chance(0.8):
            given = f"{a} {sign} {b}:"
            yield given, analysis(a, b).medium.removeprefix(given)
        else:
            yield f"{a} {sign} {b} =", f" {result}."


def reversing(draw: Draw) -> Drill:
    for _ in range(3):
        word = draw.spelt()
        yield f'"{word}" backwards: "', f'{word[::-1]}".'


def capitals(draw: Draw) -> Drill:
    for _ in range(3):
        text = draw.spelt()
        yield f'"{text}" capitals: "', f'{text.upper()}".'


def counting(draw: Draw) -> Drill:
    for _ in range(2):
        words = sentence(draw)
        text = f'"{" ".join(words)}"'
        numbers = (f"{text}:", f" {numbered(words)}. So {len(words)}.")
        yield numbers if draw.chance(0.3) else (f"{text} words: ", f"{len(words)}.")


def cases(draw: Draw) -> Drill:
    """A sentence of a fact in upper or in lower case, or the word that it tells."""
    for _ in range(3):
        turn = facts(draw)
        assert isinstance(turn.answer, str)
        how, changed = draw.one(
            (("upper", turn.answer.upper()), ("lower", turn.answer.lower()), ("one word", turn.word))
        )
        yield f"{turn.answer} {how}:", f" {changed}"


def _key(draw: Draw) -> str:
    return draw.one(_KEYS) if draw.chance(0.5) else draw.word()


def _value(draw: Draw) -> str:
    values: Sequence[Callable[[], str]] = (draw.name, draw.city, draw.word, lambda: str(draw.number(1, 99)))
    return draw.one(values)()


def _noted(draw: Draw, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Keys and values in one notation: what stands before a value, the value, what ends it."""
    if draw.chance(0.4):
        for at, (key, value) in enumerate(pairs):
            yield f'{"," if at else "{"}"{key}":"', value, '"'
        return
    before, mark = draw.one(((" The {} is", "."), (" {}", ","), (" {}:", "."), (" my {} is", " and")))
    for key, value in pairs:
        yield before.format(key), f" {value}", mark


KINDS: Mapping[Callable[[Draw], Drill], int] = {
    copying: 15,
    looking_up: 20,
    repeating: 6,
    naming: 12,
    ordering: 8,
    sums: 25,
    reversing: 12,
    capitals: 7,
    counting: 12,
    cases: 8,
}


def drill_rows(
    tokenizer: NanoTokenizer, length: int, seed: int, kinds: Mapping[Callable[[Draw], Drill], int] = KINDS
) -> Iterator[Row]:
    """Endless rows of drills, by their shares, each of which sees itself alone."""
    draw = Draw(seed, held_out=False, practice=True)
    pack = Pack([], 0)
    while True:
        kind = draw.random.choices(tuple(kinds), tuple(kinds.values()))[0]
        tokens, taught = _tokens(tokenizer, list(kind(draw)), dressed=draw.chance(_DRESSED))
        if len(pack.tokens) + len(tokens) > length:
            yield pack.row(length)
            pack = Pack([], 0)
        pack.add(tokens, draw.number(0, _FURTHEST), 0, taught)


def copy_rows(tokenizer: NanoTokenizer, length: int, seed: int) -> Iterator[Row]:
    """Endless rows of tokens drawn at random, each stretch of them thrice; the repetitions are taught."""
    draw = Draw(seed, held_out=False)
    printable = [token for token in range(tokenizer.size) if tokenizer.piece(token).isascii()]
    ordinary = [token for token in printable if token not in tokenizer.special_ids]
    while True:
        pack = Pack([], 0)
        while (most := (length - len(pack.tokens)) // 3) >= _SHORTEST:
            stretch = draw.random.choices(ordinary, k=draw.number(_SHORTEST, min(most, _LONGEST)))
            taught = [place > len(stretch) for place in range(3 * len(stretch))]
            pack.add(3 * stretch, draw.number(0, _FURTHEST), 0, taught)
        yield pack.row(length)


def _tokens(
    tokenizer: NanoTokenizer, drill: list[tuple[str, str]], *, dressed: bool
) -> tuple[list[int], list[bool]]:
    """A drill's tokens and which are learnt. `dressed`: what is only given is a user's message."""
    tokens, taught = [], []

    def put(ids: list[int], learnt: bool) -> None:
        tokens.extend(ids)
        taught.extend([learnt] * len(ids))

    newline = tokenizer.tokenize("\n") if drill[0][1] else []  # none where the first piece is to be copied
    answering = not dressed
    if dressed and not newline:
        put(_header(tokenizer, _ASKED), learnt=False)
    for given, wanted in drill:
        if wanted and not answering:
            put(_header(tokenizer, _ANSWERED), learnt=False)
            answering = True
        put(tokenizer.tokenize(given), learnt=False)
        put(tokenizer.tokenize(wanted), learnt=True)
        put(newline, learnt=False)
    return tokens, taught


def _header(tokenizer: NanoTokenizer, parts: Sequence[str]) -> list[int]:
    """Control tokens by their names, the words between them as text."""
    ids: list[int] = []
    for part in parts:
        marker = tokenizer.id_of(part)
        ids += tokenizer.tokenize(part) if marker is None else [marker]
    return ids
