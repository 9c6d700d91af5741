"""Tokenises prompts piece by piece, because every turn of a chat repeats the turns before it."""

import re
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import pairwise

_MAX_CHARACTERS = 2_000_000  # of the pieces that are remembered


class MarkedText:
    """Cuts text before its markers and remembers the tokens of each piece. Threads may share it.

    llama.cpp finds markers first and tokenises what is between them, so a cut before a marker does not change
    the tokens, unless the marker strips the whitespace before it or overlaps another one.
    """

    def __init__(
        self, tokenize: Callable[[str], list[int]], markers: Iterable[str], stripping: Collection[str] = ()
    ) -> None:
        """`markers` are all special tokens; those `stripping` the whitespace before them are named again."""
        self._tokenize = tokenize
        self._stripping = stripping
        self._marker = _any_of(markers)
        self._known: dict[str, array[int]] = {}  # replaced, never changed

    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, with its markers as special tokens."""
        pieces = [text[start:end] for start, end in pairwise((0, *self._cuts(text), len(text)))]
        known = self._known
        new = {piece: array("i", self._tokenize(piece)) for piece in pieces if piece not in known}
        if new:
            known = {**known, **new}
            if sum(map(len, known)) > _MAX_CHARACTERS:
                known = {piece: known[piece] for piece in pieces}
            self._known = known
        return [token for piece in pieces for token in known[piece]]

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
