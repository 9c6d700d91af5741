"""Tokenizes word by word, for vocabularies such as gpt-oss's.

llama.cpp splits their text with std::regex, which was measured at 6 µs per token and 1.2 ms per call. BPE
never merges across that split, so a word has the same tokens in any text, and they are computed once.

tiktoken, built from the same pieces, was measured as the alternative. It gives the same tokens, 16 times as
fast on long texts, but adds 0.2 s and 50 MB to every start of gpt-oss.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Protocol

# The pattern of o200k_base, as published with OpenAI's tiktoken; llama.cpp calls it gpt-4o.
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = "|".join(
    (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
_PATTERNS = {"gpt-4o": O200K}

_CACHED_WORDS = 100_000  # 30 MB
_CACHED_LENGTH = 64  # characters; longer words hardly recur
_LONGEST_BY_RANK = 4_000  # bytes of a word to merge in Python; these take 0.2 s, growing with the square
_FEW_BLANKS = 50  # kinds of whitespace for which llama.cpp takes less time than reading all pieces


class WordTokenizer(Protocol):
    """llama.cpp's tokenizer and pieces."""

    @property
    def size(self) -> int: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def pieces(self) -> Sequence[bytes]: ...
    def llama_tokenize(self, text: str) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...


class Words:
    """Splits text into words and caches their tokens. Threads may share it: no word is evicted singly."""

    def __init__(self, tokenizer: WordTokenizer, pattern: str) -> None:
        import regex  # 20 ms that other vocabularies do not need

        self._tokenizer = tokenizer
        self._separator = functools.cache(tokenizer.llama_tokenize)
        self._split = regex.compile(pattern).findall
        self._is_number = regex.compile(r"\p{N}+").fullmatch
        self._is_foreign = regex.compile(r"(?V1)[[\p{L}\p{M}]--[A-Za-z]]").search
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def of(cls, tokenizer: WordTokenizer, pre_tokenizer: str) -> "Words | None":
        """For llama.cpp's name of a pre-tokenizer; None if its pattern is not known here."""
        pattern = _PATTERNS.get(pre_tokenizer)
        return None if pattern is None else cls(tokenizer, pattern)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, none of them special, because no marker is a word."""
        return self.tokenize_all([text])[0]

    def tokenize_all(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids of each of `texts`, in hardly more time than for a single text."""
        split = [self._split(text) for text in texts]
        words = dict.fromkeys(chain.from_iterable(split))
        cache = self._cache
        missing = [word for word in words if word not in cache]
        if len(cache) + len(missing) > _CACHED_WORDS:
            self._cache = cache = {}
            missing = list(words)
        long: dict[str, list[int]] = {}
        for word, tokens in self._tokenized(missing):
            (cache if len(word) <= _CACHED_LENGTH else long)[word] = tokens
        here = cache | long if long else cache
        return [[token for word in each for token in here[word]] for each in split]

    def _tokenized(self, words: Iterable[str]) -> Iterator[tuple[str, list[int]]]:
        """Tokenize many words in two calls, with a digit between words and a comma between numbers.

        Foreign words are merged here: llama.cpp's pattern would split them at combining marks, as in Hindi,
        and at capitals such as Ñ.
        """
        numbers: list[str] = []
        blanks: list[str] = []
        others: list[str] = []
        for word in words:
            if self._is_foreign(word):
                yield word, self._by_rank(word)
                continue
            kind = numbers if self._is_number(word) else blanks if word.isspace() else others
            kind.append(word)
        yield from self._joined(numbers, " ,")
        yield from self._joined(others, " 1")
        tokenize = self._tokenizer.llama_tokenize if len(blanks) <= _FEW_BLANKS else self._by_rank
        yield from ((word, tokenize(word)) for word in blanks)

    @functools.cached_property
    def _ranks(self) -> dict[bytes, int]:
        """Token ids of pieces; pairs are merged in the order of these ids."""
        special = self._tokenizer.special_ids
        return {piece: token for token, piece in enumerate(self._tokenizer.pieces) if token not in special}

    def _by_rank(self, text: str) -> list[int]:
        """Byte-pair encoding as in tiktoken, where the id of a token is its rank."""
        ranks, last = self._ranks, self._tokenizer.size
        word = text.encode("utf-8", "replace")
        if word in ranks:
            return [ranks[word]]
        if len(word) > _LONGEST_BY_RANK:
            return self._tokenizer.llama_tokenize(text)
        pieces = [word[at : at + 1] for at in range(len(word))]
        pairs = [ranks.get(a + b, last) for a, b in pairwise(pieces)]
        while pairs and (best := min(pairs)) < last:
            at = pairs.index(best)
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
            del pairs[at]
            for left in (at - 1, at):
                if 0 <= left < len(pairs):
                    pairs[left] = ranks.get(pieces[left] + pieces[left + 1], last)
        return [ranks[piece] for piece in pieces]

    def _joined(self, words: list[str], between: str) -> Iterator[tuple[str, list[int]]]:
        joined = self._tokenizer.llama_tokenize("".join(word + between for word in words)) if words else []
        found = list(_split(joined, self._separator(between)))
        if len(found) != len(words):
            found = [[]] * len(words)
        for word, tokens in zip(words, found, strict=True):
            as_bytes = b"".join(map(self._tokenizer.piece, tokens))
            right = as_bytes == word.encode("utf-8", "replace")
            yield word, tokens if right else self._tokenizer.llama_tokenize(word)


def _split(tokens: list[int], separator: list[int]) -> Iterator[list[int]]:
    """The runs of tokens that end with `separator`."""
    start, length = 0, len(separator)
    for end in range(len(tokens)):
        if end >= start and tokens[end : end + length] == separator:
            yield tokens[start:end]
            start = end + length
