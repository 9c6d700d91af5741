"""Tokenizes prompts piece by piece, because every turn of a chat repeats the turns before it."""

import re
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import pairwise
from threading import Lock

_MAX_CHARACTERS = 2_000_000  # of the pieces that are remembered


class MarkedText:
    """Cuts text before its markers and remembers the tokens of the latest pieces. Threads may share it.

    llama.cpp finds markers first and tokenizes what is between them, so a cut before a marker does not change
    the tokens, unless the marker strips the whitespace before it or overlaps another one.
    """

    def __init__(
        self, tokenize: Callable[[str], list[int]], markers: Iterable[str], stripping: Collection[str] = ()
    ) -> None:
        """`markers` are all special tokens; those `stripping` the whitespace before them are named again."""
        self._tokenize = tokenize
        self._stripping = stripping
        self._marker = _any_of(markers)
        self._lock = Lock()  # of changes; a reader that misses one only tokenizes again
        self._recent: dict[str, array[int]] = {}
        self._older: dict[str, array[int]] = {}  # never changed; forgotten when `_recent` is full
        self._n_characters = 0  # in `_recent`

    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, with its markers as special tokens."""
        cuts = pairwise((0, *self._cuts(text), len(text)))
        pieces = [text[start:end] for start, end in cuts if start < end]
        recent, older = self._recent, self._older
        tokens: dict[str, array[int]] = {}
        for piece in pieces:
            if piece not in tokens:
                known = recent.get(piece) or older.get(piece)
                tokens[piece] = known or array("i", self._tokenize(piece))
        self._remember(tokens)
        return [token for piece in pieces for token in tokens[piece]]

    def _remember(self, tokens: "dict[str, array[int]]") -> None:
        """Remember the pieces of a text, however many they are: the next turn of a chat has them all."""
        with self._lock:
            for piece, ids in tokens.items():
                if piece not in self._recent:
                    self._recent[piece] = ids
                    self._n_characters += len(piece)
            if self._n_characters > _MAX_CHARACTERS // 2:
                self._older, self._recent, self._n_characters = self._recent, {}, 0

    def _cuts(self, text: str) -> Iterator[int]:
        """The starts of the markers that overlap no other."""
        spans = [match.span(1) for match in self._marker.finditer(text)] if self._marker else []
        reach = 0
        for (start, end), (following, _) in pairwise((*spans, (len(text), 0))):
            apart = reach <= start and end <= following
            if apart and not text[start].isspace() and text[start:end] not in self._stripping:
                yield start
            reach = max(reach, end)


def _any_of(markers: Iterable[str]) -> re.Pattern[str] | None:
    """Matches without consuming anything, and captures the longest marker there."""
    ordered = sorted(markers, key=len, reverse=True)
    if not ordered:
        return None
    first = "".join(sorted({re.escape(marker[0]) for marker in ordered}))
    return re.compile(f"(?=[{first}])(?=({'|'.join(map(re.escape, ordered))}))")
