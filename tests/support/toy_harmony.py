"""Harmony over a toy vocabulary: bytes, some whole words and control tokens. Streams are spelt as text."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ossctl.dialect import Answer, Event, Preamble, Reasoning, Recovered
from ossctl.guide import Guide
from ossctl.harmony.markers import Markers
from ossctl.harmony.parser import HarmonyParser

CONTROL = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|return|>",
    "<|constrain|>",
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|call|>",
)

MARKER_NAMES = ("start", "channel", "constrain", "message", "end", "call", "return")

TEXTS = (Reasoning, Preamble, Answer)


class ToyVocabulary:
    """Tokens 0 to 255 are bytes, then come the control tokens, then `words`, of which the longest is taken.

    Without words it is the vocabulary of the byte model.
    """

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.words = tuple(words)
        self.pieces = [bytes([byte]) for byte in range(256)]
        self.pieces += [text.encode() for text in (*CONTROL, *self.words)]
        self._control = {text: 256 + number for number, text in enumerate(CONTROL)}
        self._by_piece = {piece: token for token, piece in enumerate(self.pieces)}
        longest_first = sorted(self.words, key=len, reverse=True)
        self._token = re.compile(
            b"|".join([*(re.escape(word.encode()) for word in longest_first), b"(?s:.)"])
        )
        self._marker = re.compile("|".join(map(re.escape, CONTROL)))
        self.size = len(self.pieces)
        self.special_ids = frozenset(self._control.values())
        self.end_ids = frozenset(map(self._control.__getitem__, ("<|return|>", "<|call|>", "<|endoftext|>")))
        self.markers = Markers(*(self._control[f"<|{name}|>"] for name in MARKER_NAMES))

    def id_of(self, marker: str) -> int | None:
        return self._control.get(marker)

    def piece(self, token: int) -> bytes:
        return self.pieces[token]

    def tokenize(self, text: str) -> list[int]:
        """Text alone: a marker in it stays text."""
        return [self._by_piece[piece] for piece in self._token.findall(text.encode())]

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.tokenize(text) for text in texts]

    def ids(self, stream: str) -> list[int]:
        """A stream with its markers as control tokens."""
        ids, start = [], 0
        for marker in self._marker.finditer(stream):
            ids += [*self.tokenize(stream[start : marker.start()]), self._control[marker.group()]]
            start = marker.end()
        return ids + self.tokenize(stream[start:])

    def spelt(self, ids: Sequence[int]) -> str:
        """Ids as text, for a failure's message."""
        return b"".join(map(self.piece, ids)).decode("utf-8", "backslashreplace")

    def parser(self) -> HarmonyParser:
        return HarmonyParser(self.piece, self.markers, self.special_ids)


TOY = ToyVocabulary()


def events_of(ids: Iterable[int], vocabulary: ToyVocabulary = TOY) -> list[Event]:
    """What the parser makes of them, as it comes."""
    parser = vocabulary.parser()
    events = [event for token in ids for event in parser.feed(token)]
    return [*events, *parser.close(cut=True)]


def merged(events: Iterable[Event]) -> list[Event]:
    """Pieces of text of one kind that follow each other as one."""
    whole: list[Event] = []
    for event in events:
        latest = whole[-1] if whole else None
        if isinstance(event, TEXTS) and type(latest) is type(event):
            whole[-1] = replace(event, text=latest.text + event.text)
        else:
            whole.append(event)
    return whole


def parsed(stream: str | Sequence[int]) -> list[Event]:
    """The events of a stream, text merged."""
    return merged(events_of(TOY.ids(stream) if isinstance(stream, str) else stream))


def complaints(events: Iterable[Event]) -> list[str]:
    return [event.what for event in events if isinstance(event, Recovered)]


def told(events: Iterable[Event]) -> list[Event]:
    """All but the complaints, text merged."""
    return merged(event for event in events if not isinstance(event, Recovered))


def choices(guide: Guide, vocabulary: ToyVocabulary = TOY) -> set[int]:
    """All tokens that are allowed next."""
    if forced := guide.forced():
        return {forced[0]}
    every, banned = set(range(vocabulary.size)), guide.banned()
    if banned is None:
        return every
    ids = banned.nonzero()[0] if banned.dtype == bool else banned
    return every - set(map(int, ids))


def follow(guide: Guide, stream: str, vocabulary: ToyVocabulary = TOY) -> Guide:
    """Accept a stream, checking that the guide allows it."""
    for position, token in enumerate(ids := vocabulary.ids(stream)):
        assert token in choices(guide, vocabulary), f"after {vocabulary.spelt(ids[:position])!r}"
        guide.accept(token)
    return guide


def forced(guide: Guide, vocabulary: ToyVocabulary = TOY) -> str:
    """Accept all forced tokens; return their text."""
    ids: list[int] = []
    while following := list(guide.forced()):
        ids += following
        for token in following:
            guide.accept(token)
    return vocabulary.spelt(ids)


def spelt(tokens: set[int], vocabulary: ToyVocabulary = TOY) -> set[str]:
    return {vocabulary.spelt([token]) for token in tokens}
