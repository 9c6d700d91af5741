"""The words in which two answers differ."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_EXACT_WORDS = 400  # longer texts are compared by difflib's heuristic, which ignores frequent words
_MIN_IN_COMMON = 0.4  # of two texts; with less, the words in common are there by chance
_FEW_CHANGES = 2  # are shown in any case


@dataclass(frozen=True)
class Piece:
    """A stretch of text that both have, or that was removed from the first or added by the second."""

    kind: Literal["same", "removed", "added"]
    text: str


def word_diff(first: str, second: str) -> list[Piece]:
    """The pieces from which both texts can be read: the first without what was added, and vice versa."""
    changes = _changes(first, second)
    in_common = 2 * sum(len(change.same) for change in changes)
    if len(changes) > _FEW_CHANGES and in_common < _MIN_IN_COMMON * (len(first) + len(second)):
        changes = [_Change(first, second)]
    return [piece for change in changes for piece in change.pieces()]


def plain_diff(pieces: list[Piece]) -> str:
    """The diff as text, written as `git diff --word-diff` does: `[-removed-]{+added+}`."""
    marks = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}
    return "".join(piece.text.join(marks[piece.kind]) for piece in pieces)


@dataclass
class _Change:
    """What was removed and added at one place, and the text after it that both have."""

    removed: str = ""
    added: str = ""
    same: str = ""

    @property
    def size(self) -> int:
        return max(len(self.removed), len(self.added))

    def pieces(self) -> Iterator[Piece]:
        if self.removed:
            yield Piece("removed", self.removed)
        if self.added:
            yield Piece("added", self.added)
        if self.same:
            yield Piece("same", self.same)


def _changes(first: str, second: str) -> list[_Change]:
    """The changes, without text in common that is less than half as long as the changes on both sides.

    Such text is there by chance, and would cut a sentence into pieces that make no sense.
    """
    done: list[_Change] = []
    for change in _matched(_WORD.findall(first), _WORD.findall(second)):
        while done and 0 < 2 * len(done[-1].same) <= min(done[-1].size, change.size):
            before = done.pop()
            change.removed = before.removed + before.same + change.removed
            change.added = before.added + before.same + change.added
        done.append(change)
    return done


def _matched(first: list[str], second: list[str]) -> Iterator[_Change]:
    long = max(len(first), len(second)) > _EXACT_WORDS
    change = _Change()
    for kind, start, end, other_start, other_end in SequenceMatcher(
        None, first, second, autojunk=long
    ).get_opcodes():
        if kind == "equal":
            change.same = "".join(first[start:end])
            yield change
            change = _Change()
        else:
            change = _Change("".join(first[start:end]), "".join(second[other_start:other_end]))
    if change.size:
        yield change
