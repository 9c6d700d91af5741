"""Random malformed streams raise no exception and lose no text.

The expected text comes from a second, simpler parser, which knows messages and markers but not channels: the
text of every message, the text between messages, and that of headers without `<|message|>`, except for the
words that belong to a header.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest

from ossctl.dialect import Event, ToolCall
from tests.support.toy_harmony import TEXTS, ToyVocabulary, complaints, events_of, merged

HEADER_WORDS = ("assistant", "user", "analysis", "commentary", "final", " to=functions.get", "json", " to=")
TEXT_WORDS = [f"{letter}{digit}" for letter in "ABCDEFGHIJKLMNOPQRST" for digit in range(10)]
VOCABULARY = ToyVocabulary((*HEADER_WORDS, *TEXT_WORDS, *(f" {word}" for word in TEXT_WORDS)))
MARKERS = VOCABULARY.markers
CONTROL = sorted(VOCABULARY.special_ids)
ENDS = (MARKERS.end, MARKERS.call, MARKERS.done)

HEADERS = [
    VOCABULARY.ids(header)
    for header in (
        "<|channel|>analysis<|message|>",
        "<|channel|>analysis<|message|>",
        "<|channel|>final<|message|>",
        "<|channel|>commentary<|message|>",
        "<|channel|>commentary to=functions.get <|constrain|>json<|message|>",
        " to=functions.get<|channel|>commentary <|constrain|>json<|message|>",
        "<|channel|>final <|constrain|>json<|message|>",
    )
]
NEXT = VOCABULARY.ids("<|start|>assistant")
FIRST_TEXT_WORD = VOCABULARY.size - 2 * len(TEXT_WORDS)
SOUP = [*CONTROL, MARKERS.start, MARKERS.channel, MARKERS.message, MARKERS.end]

# What belongs to a header, at the start of a word.
OWN_WORD = re.compile(r"(?:assistant|user|analysis|commentary|final|json|to=[A-Za-z0-9_.-]*)*")
NO_LETTER = re.compile(r"[^!-~]+")


def streams(seed: int, count: int) -> Iterator[list[int]]:
    """Well-formed answers with up to eight changes; one in ten is random tokens."""
    rng = Random(seed)
    for number in range(count):
        first = rng.randrange(len(TEXT_WORDS) - 30)
        words = range(FIRST_TEXT_WORD + first, FIRST_TEXT_WORD + first + 30)  # no word comes twice at first
        if number % 10 == 0:
            yield [some_token(rng, words) for _ in range(rng.randrange(40))]
        else:
            stream = answer(rng, iter(words))
            for _ in range(rng.randrange(9)):
                change(rng, stream, words)
            yield stream


def answer(rng: Random, words: Iterator[int]) -> list[int]:
    stream = []
    for position in range(rng.randint(1, 4)):
        stream += [*(NEXT if position else ()), *rng.choice(HEADERS)]
        stream += [next(words) for _ in range(rng.randrange(7))]
        stream.append(rng.choice((MARKERS.end, MARKERS.end, MARKERS.call, MARKERS.done)))
    return stream


def change(rng: Random, stream: list[int], words: Sequence[int]) -> None:
    """Delete, duplicate, swap, replace or insert a token."""
    at, other = rng.randrange(len(stream) + 1), rng.randrange(len(stream) + 1)
    kind = rng.randrange(5)
    if kind == 0:
        del stream[at : at + 1]
    elif kind == 1:
        stream[at:at] = stream[at : at + 1]
    elif kind == 2 and max(at, other) < len(stream):
        stream[at], stream[other] = stream[other], stream[at]
    elif kind == 3:
        stream[at : at + 1] = [some_token(rng, words)]
    else:
        stream.insert(at, some_token(rng, words))


def some_token(rng: Random, words: Sequence[int]) -> int:
    """A control token, a byte, or a word, of headers or of text."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(SOUP)
    if kind == 1:
        return rng.choice((32, rng.randrange(256)))
    if kind == 2:
        return 256 + len(CONTROL) + rng.randrange(len(HEADER_WORDS))
    return rng.choice(words) + rng.choice((0, len(TEXT_WORDS)))


@dataclass
class Reading:
    """`content` are the expected pieces of text, in order; text of unfinished headers may come between them.

    `all` is all text. `stray` are words that do not belong in the header, of headers that ended.
    """

    content: list[str] = field(default_factory=list)
    with_headers: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    all: str = ""


class Reader:
    """The second parser: text, and the markers between."""

    def __init__(self) -> None:
        self.reading = Reading()
        self._header: list[bytes] | None = [b""]  # its text after each marker; None outside of a header
        self._content: bytes | None = None  # None outside of a message
        self._fresh = True  # the header has nothing but what the prompt wrote

    def read(self, ids: list[int]) -> Reading:
        for token in ids:
            if token in VOCABULARY.special_ids:
                self._marker(token)
            else:
                self._text(VOCABULARY.piece(token))
        self._end_message()
        self._end_header()
        self.reading.all = letters(
            b"".join(VOCABULARY.piece(token) for token in ids if token not in VOCABULARY.special_ids)
        )
        return self.reading

    def _text(self, piece: bytes) -> None:
        if self._header is None:
            self._content = (self._content or b"") + piece
            return
        self._header[-1] += piece
        if len(self._header[-1]) > 8:  # five words are no shorter
            text = codecs.getincrementaldecoder("utf-8")("replace").decode(self._header[-1])
            if len(text.split()) > 4 or len(text) > 256:
                self._end_header()

    def _marker(self, token: int) -> None:
        if token == MARKERS.start or (token == MARKERS.channel and self._header is None):
            self._end_message()
            self._end_header()
            self._header = [b"", b""] if token == MARKERS.channel else [b""]
        elif token in ENDS:
            self._end_message()
            self._end_header()
        elif self._header is None:
            if token == MARKERS.message and self._content is None:
                self._content = b""
        elif token == MARKERS.message:
            for part in self._header:
                self.reading.stray += not_own(part)
            self._header, self._content = None, b""
        elif token in (MARKERS.channel, MARKERS.constrain):
            self._header.append(b"")

    def _end_message(self) -> None:
        if text := letters(self._content or b""):
            self.reading.content.append(text)
            self.reading.with_headers.append(text)
        self._content = None

    def _end_header(self) -> None:
        for part in self._header or ():
            self.reading.with_headers += not_own(part)
        self._header = None


def letters(text: bytes | str) -> str:
    """The letters of a text, to compare it whatever becomes of invalid UTF-8 and whitespace."""
    return NO_LETTER.sub("", text if isinstance(text, str) else text.decode("ascii", "ignore"))


def not_own(part: bytes) -> list[str]:
    """The words of a header's part that do not belong to a header."""
    words = part.decode("utf-8", "replace").split()
    rest = [word[own.end() :] for word in words if (own := OWN_WORD.match(word))]
    return [found for word in rest if (found := letters(word))]


def told(events: list[Event]) -> str:
    """All text of the events, in order."""
    shown = [
        e.text if isinstance(e, TEXTS) else e.arguments for e in events if isinstance(e, (*TEXTS, ToolCall))
    ]
    return letters("".join(shown))


def missing(pieces: list[str], text: str) -> str:
    """The first of `pieces` that is not in `text` in its order; '' if all are."""
    start = 0
    for piece in pieces:
        at = text.find(piece, start)
        if at < 0:
            return piece
        start = at + len(piece)
    return ""


def in_order(part: str, whole: str) -> bool:
    """Whether `part` is `whole` with some characters left out."""
    rest = iter(whole)
    return all(letter in rest for letter in part)


def where(seed: int, ids: list[int]) -> str:
    return f"seed {seed}: {VOCABULARY.spelt(ids)}"


@pytest.mark.parametrize("seed", range(5))
def test_no_text_of_a_message_is_lost_and_none_is_invented(seed: int) -> None:
    for ids in streams(seed, 10_000):
        text = told(events_of(ids, VOCABULARY))
        reading = Reader().read(ids)
        assert not (lost := missing(reading.content, text)), f"{lost!r} of {where(seed, ids)}"
        assert in_order(text, reading.all), where(seed, ids)


def test_no_text_in_a_header_that_never_ended_is_lost() -> None:
    for ids in streams(100, 5_000):
        events = events_of([*ids, MARKERS.done], VOCABULARY)  # a header that is cut off could still continue
        lost = missing(Reader().read(ids).with_headers, told(events))
        assert not lost, f"{lost!r} of {where(100, ids)}"


def test_no_stray_word_in_a_header_is_lost_silently() -> None:
    for ids in streams(101, 5_000):
        events = events_of(ids, VOCABULARY)
        if not complaints(events):
            lost = missing(Reader().read(ids).stray, told(events))
            assert not lost, f"{lost!r} of {where(101, ids)}"


def test_the_events_do_not_depend_on_how_text_is_split_into_tokens() -> None:
    for ids in streams(102, 5_000):
        as_bytes = [part for token in ids for part in split(token)]
        assert merged(events_of(ids, VOCABULARY)) == merged(events_of(as_bytes, VOCABULARY)), where(102, ids)


def split(token: int) -> list[int]:
    return [token] if token in VOCABULARY.special_ids else list(VOCABULARY.piece(token))


def test_reasoning_tokens_only_grow_and_never_beyond_the_tokens() -> None:
    for ids in streams(103, 3_000):
        parser, before = VOCABULARY.parser(), 0
        for position, token in enumerate(ids, 1):
            parser.feed(token)
            assert before <= parser.reasoning_tokens <= position, where(103, ids)
            before = parser.reasoning_tokens


def test_a_control_token_is_never_part_of_the_answer() -> None:
    for ids in streams(104, 3_000):
        parser = VOCABULARY.parser()
        for token in ids:
            parser.feed(token)
            assert not (parser.answering and token in VOCABULARY.special_ids), where(104, ids)
