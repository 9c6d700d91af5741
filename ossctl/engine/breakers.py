"""The sequence breakers of DRY: texts at which a repetition ends, such as a newline."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from ossctl.runtime.base import Tokens

_MAX_TAIL = 20  # tokens after the first, as in llama.cpp
_CACHED = 16


class Breakers:
    """Token sequences that end a repetition: a token that contains a breaker, or several that spell it."""

    def __init__(self, sequences: Iterable[tuple[int, ...]] = ()) -> None:
        self._by_last: dict[int, list[tuple[int, ...]]] = {}
        for sequence in sequences:
            self._by_last.setdefault(sequence[-1], []).append(sequence)
        self.single = frozenset(last for last, ending in self._by_last.items() if (last,) in ending)

    def latest(self, tokens: Tokens) -> tuple[int, int]:
        """Start and length of the breaker that starts last in `tokens`, int32 [n]; (-1, 0) if none."""
        latest = (-1, 0)
        for end in range(len(tokens), 0, -1):
            if end <= latest[0]:
                break
            latest = max(latest, self.ending(tokens[:end]))
        return latest

    def ending(self, tokens: Tokens) -> tuple[int, int]:
        """The same of those that `tokens`, int32 [n] with n >= 1, end with."""
        n_tokens, found = len(tokens), (-1, 0)
        for sequence in self._by_last.get(int(tokens[-1]), ()):
            length = len(sequence)
            if length <= n_tokens and tokens[-length:].tolist() == list(sequence):
                found = max(found, (n_tokens - length, length))
        return found


class BreakerVocabulary(Protocol):
    """The part of a model's vocabulary that breakers need."""

    @property
    def pieces(self) -> Sequence[bytes]: ...
    def tokenize(self, text: str) -> list[int]: ...


class BreakerFinder:
    """Finds breakers in a vocabulary. The first time, a text takes some 10 ms."""

    def __init__(self, vocabulary: BreakerVocabulary) -> None:
        self._vocabulary = vocabulary
        self.find = functools.lru_cache(maxsize=_CACHED)(self._find)

    def _find(self, texts: tuple[str, ...]) -> Breakers:
        return Breakers(sorted({sequence for text in texts for sequence in self._sequences(text)}))

    def _sequences(self, text: str) -> Iterator[tuple[int, ...]]:
        """As in llama.cpp: tokens with all of the text, and tokens that end with a part, plus the rest."""
        data = text.encode()
        tokenize = self._vocabulary.tokenize
        splits = [(start.encode(), tuple(tokenize(rest)[:_MAX_TAIL])) for start, rest in _splits(text)]
        for token, piece in enumerate(self._vocabulary.pieces):
            if data in piece:
                yield (token,)
                continue
            for start, tail in splits:
                if piece.endswith(start):
                    yield (token, *tail)


def _splits(text: str) -> Iterator[tuple[str, str]]:
    """The ways to split `text` in two, between characters."""
    return ((text[:length], text[length:]) for length in range(1, len(text)))
