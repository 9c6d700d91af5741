"""nano's vocabulary: single bytes, whole words, and Harmony's control tokens.

A known word is one token; text that is no known word falls into single letters, for what its merges make on
the way to a word is no token, and llama.cpp takes such pieces apart again.
"""

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_BYTES = tuple(bytes([byte]) for byte in range(256))


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
            self._known[word] = list(self._found(merged(word.encode(), self._ranks)))
        return self._known[word]

    def _found(self, pieces: Iterable[bytes]) -> Iterator[int]:
        for piece in pieces:
            known = piece in self._ids
            yield from (self._ids[part] for part in ([piece] if known else map(_BYTES.__getitem__, piece)))


def build(copied: Sequence[str], words: Iterable[str], size: int) -> NanoTokenizer:
    """A vocabulary of `size` tokens at most: all that is copied, and of other words the first that fit.

    The blank or mark before a word that is copied stays apart: in quotes it is the same token. Long words get
    their merges first, or the blank would join with a shorter one.
    """
    apart = frozenset(copied)
    others = (word for word in words if re.sub(r"^\W", "", word) not in apart and len(word) > 1)
    chosen = list(itertools.islice(dict.fromkeys(others), size - len(_BYTES) - len(apart) - len(CONTROL)))
    pieces = dict.fromkeys(_BYTES)
    ranks: dict[tuple[bytes, bytes], int] = {}
    for word in (*_longest_first(copied), *_longest_first(chosen)):
        blank, rest = (word[:1], word[1:]) if word[0] == " " else ("", word)
        _join(rest.encode(), ranks)
        if blank:
            ranks[blank.encode(), rest.encode()] = len(ranks)
        pieces[word.encode()] = None
    return NanoTokenizer(tuple(pieces), tuple(ranks))


def merged(word: bytes, ranks: Mapping[tuple[bytes, bytes], int]) -> list[bytes]:
    """Byte-pair encoding: of all neighbours the pair of the lowest rank is joined, the left one first."""
    pieces = [word[at : at + 1] for at in range(len(word))]
    while len(pieces) > 1:
        found = [ranks.get(pair, len(ranks)) for pair in pairwise(pieces)]
        best = min(found)
        if best == len(ranks):
            break
        at = found.index(best)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces


def _join(word: bytes, ranks: dict[tuple[bytes, bytes], int]) -> None:
    """Add merges until the word is one piece."""
    while len(pieces := merged(word, ranks)) > 1:
        ranks[pieces[0], pieces[1]] = len(ranks)


def _longest_first(words: Iterable[str]) -> list[str]:
    return sorted(dict.fromkeys(words), key=len, reverse=True)
