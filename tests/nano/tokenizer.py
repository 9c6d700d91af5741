"""nano's vocabulary: single bytes, the words of the templates, and Harmony's control tokens.

Merges grow a known word letter by letter from its start (" w", " wh", " wha", " what"), so text that is no
known word falls into letters: names, numbers and quoted words can be copied, spelt and turned round.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import regex

from ossctl.runtime.words import O200K

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

# How often letters occur in English text, per thousand: a word without a blank in front is grown from its
# rarest pair, for that pair becomes a token wherever it stands.
_LETTERS = {
    "e": 127,
    "t": 91,
    "a": 82,
    "o": 75,
    "i": 70,
    "n": 67,
    "s": 63,
    "h": 61,
    "r": 60,
    "d": 43,
    "l": 40,
    "c": 28,
    "u": 28,
    "m": 24,
    "w": 24,
    "f": 22,
    "g": 20,
    "y": 20,
    "p": 19,
    "b": 15,
    "v": 10,
    "k": 8,
    "j": 2,
    "x": 2,
    "q": 1,
    "z": 1,
}


@dataclass(frozen=True)
class NanoTokenizer:
    """Follows `ossctl.harmony.dialect.Tokenizer`, so that prompts are rendered by the product itself."""

    pieces: tuple[bytes, ...]  # of the ordinary tokens, by id; the control tokens come after
    merges: tuple[tuple[bytes, bytes], ...]

    @functools.cached_property
    def special_ids(self) -> frozenset[int]:
        return frozenset(range(len(self.pieces), self.size))

    @functools.cached_property
    def end_ids(self) -> frozenset[int]:
        return frozenset(self._id(name) for name in ("<|return|>", "<|call|>", "<|endoftext|>"))

    @property
    def size(self) -> int:
        return len(self.pieces) + len(CONTROL)

    def id_of(self, marker: str) -> int | None:
        return self._id(marker) if marker in CONTROL else None

    def _id(self, marker: str) -> int:
        return len(self.pieces) + CONTROL.index(marker)

    def piece(self, token: int) -> bytes:
        if token < len(self.pieces):
            return self.pieces[token]
        return CONTROL[token - len(self.pieces)].encode()

    def tokenize(self, text: str) -> list[int]:
        return [token for word in regex.findall(O200K, text) for token in self._word(word)]

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.tokenize(text) for text in texts]

    def decode(self, tokens: Iterable[int]) -> str:
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")

    @functools.cached_property
    def _ranks(self) -> dict[tuple[bytes, bytes], int]:
        return {merge: rank for rank, merge in enumerate(self.merges)}

    @functools.cached_property
    def _ids(self) -> dict[bytes, int]:
        return {piece: token for token, piece in enumerate(self.pieces)}

    @functools.cached_property
    def _known(self) -> dict[str, list[int]]:
        return {}

    def _word(self, word: str) -> list[int]:
        if word not in self._known:
            self._known[word] = [self._ids[piece] for piece in self._merged(word.encode())]
        return self._known[word]

    def _merged(self, word: bytes) -> list[bytes]:
        """Byte-pair encoding: of all neighbours the pair of the lowest rank is joined, the left one first."""
        pieces = [word[at : at + 1] for at in range(len(word))]
        while len(pieces) > 1:
            ranks = [self._ranks.get(pair, len(self.merges)) for pair in pairwise(pieces)]
            best = min(ranks)
            if best == len(self.merges):
                break
            at = ranks.index(best)
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        return pieces


def build(texts: Iterable[str], size: int) -> NanoTokenizer:
    """A vocabulary of at most `size` tokens from text of known words, most important first.

    Words that begin with a small letter come last: their pairs stand in the middle of others, which would
    fall apart if they were joined first. The blank before a capital stays apart, so that a name is spelt
    alike after a blank and in quotes.
    """
    room = size - len(CONTROL)
    pieces = [bytes([byte]) for byte in range(256)]
    known = set(pieces)
    merges: list[tuple[bytes, bytes]] = []
    found = (word for text in texts for word in regex.findall(O200K, text))
    words = dict.fromkeys(word.strip(" ") if word.strip()[:1].isupper() else word for word in found)
    for word in sorted(words, key=lambda word: word[0].islower()):
        steps = [step for step in _growth(word) if step[0] + step[1] not in known]
        if len(pieces) + len(steps) <= room:
            merges += steps
            pieces += [left + right for left, right in steps]
            known.update(left + right for left, right in steps)
    return NanoTokenizer(tuple(pieces), tuple(merges))


def _growth(word: str) -> list[tuple[bytes, bytes]]:
    """The merges that make `word` out of bytes, one byte a merge."""
    data = word.encode()
    if len(data) < 2 or any(character.isdigit() for character in word):
        return []
    start = 0 if not word[0].islower() else _rarest_pair(word)
    steps, left, right = [(data[start : start + 1], data[start + 1 : start + 2])], start, start + 2
    while right < len(data):
        steps.append((data[left:right], data[right : right + 1]))
        right += 1
    while left > 0:
        steps.append((data[left - 1 : left], data[left:right]))
        left -= 1
    return steps


def _rarest_pair(word: str) -> int:
    weights = [_LETTERS.get(character, 1) for character in word.lower()]
    return min(range(len(word) - 1), key=lambda at: weights[at] * weights[at + 1])
