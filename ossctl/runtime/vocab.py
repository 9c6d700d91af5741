"""A model's vocabulary: text to tokens and back, safe against forged control tokens."""

import ctypes
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np

from ossctl.runtime.bindings import lib
from ossctl.runtime.words import Words

# llama.cpp splits text before BPE with std::regex for many vocabularies, gpt-oss's among them. That recurses
# once a character of a match, so 50,000 letters in a row overflow an 8 MiB stack and kill the process. No
# match goes beyond a run of blanks or of anything else; longer runs are tokenised in pieces.
_LONGEST_RUN = 2_000
_LONG_RUN = re.compile(
    rf"(?<![^\t-\r ])[^\t-\r ]{{{_LONGEST_RUN + 1},}}|(?<!\s)\s{{{_LONGEST_RUN + 1},}}",
)
_AFTER_WORDS = frozenset(",.;:!?()[]{}-/、。，；：！？（）「」")  # noqa: RUF001 (punctuation of Chinese and Japanese)


class Vocabulary:
    """Tokens of a loaded model. It lives as long as the model it comes from.

    `pre_tokenizer` is llama.cpp's name for the way it splits text.
    """

    def __init__(self, model: object, pre_tokenizer: str = "") -> None:
        self._vocab = lib.llama_model_get_vocab(model)
        self._pre_tokenizer = pre_tokenizer
        self.size: int = lib.llama_vocab_n_tokens(self._vocab)
        self._pieces: dict[int, bytes] = {}

    @functools.cached_property
    def special_ids(self) -> frozenset[int]:
        """Control tokens and user-defined ones (`<think>`; llama.cpp makes Harmony's markers so)."""
        mask = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        attributes = map(lib.llama_vocab_get_attr, repeat(self._vocab), range(self.size))
        return frozenset(token for token, attribute in enumerate(attributes) if attribute & mask)

    @functools.cached_property
    def control_ids(self) -> frozenset[int]:
        """Tokens that are never text."""
        return frozenset(t for t in self.special_ids if lib.llama_vocab_is_control(self._vocab, t))

    @functools.cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a generation."""
        return frozenset(t for t in self.special_ids if lib.llama_vocab_is_eog(self._vocab, t))

    @functools.cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of all tokens, by id."""
        if self._words is None or not self.special_ids:
            return [self.piece(token) for token in range(self.size)]
        return self._detokenized(min(self.special_ids))

    def _detokenized(self, marker: int) -> list[bytes]:
        """All pieces by one call, with `marker` between them: a tenth of the time.

        In vocabularies that are not split into words here, llama.cpp may change blanks on the way.
        """
        ids = np.full((self.size, 2), marker, np.int32)
        ids[:, 0] = np.arange(self.size)
        ids[marker, 0] = (marker + 1) % self.size  # itself, it would be two between pieces
        given = self._vocab, ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)), ids.size
        length = -lib.llama_detokenize(*given, None, 0, False, True)
        buffer = ctypes.create_string_buffer(length)
        lib.llama_detokenize(*given, buffer, length, False, True)
        text = self.piece(marker)
        pieces = buffer.raw.split(text)[:-1]
        pieces[marker] = text
        return pieces

    def piece(self, token: int) -> bytes:
        """The bytes of `token`; a control token gives its marker's text."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._read_piece(token)
        return found

    def _read_piece(self, token: int) -> bytes:
        if not 0 <= token < self.size:
            raise ValueError(f"token {token} is not in the vocabulary of {self.size}")
        buffer = ctypes.create_string_buffer(256)
        length = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        return buffer.raw[:length]

    @property
    def begin_id(self) -> int | None:
        """The token that starts every prompt, where the model was trained with one."""
        token = int(lib.llama_vocab_bos(self._vocab))
        return token if token >= 0 and lib.llama_vocab_get_add_bos(self._vocab) else None

    @functools.cached_property
    def _words(self) -> Words | None:
        return Words.of(self, self._pre_tokenizer)

    @property
    def end_id(self) -> int:
        """The token that ends an answer, where the model's file names one; else any of them."""
        token = int(lib.llama_vocab_eos(self._vocab))
        return token if token >= 0 else min(self.end_ids)

    def id_of(self, marker: str) -> int | None:
        """The special token that is spelt like this."""
        return self._special.get(marker)

    @functools.cached_property
    def _special(self) -> dict[str, int]:
        return {self.marker(token): token for token in sorted(self.special_ids, reverse=True)}

    def marker(self, token: int) -> str:
        """The text of a special token that a chat template may use by name; '' for none."""
        return self.piece(token).decode("utf-8", "replace") if token >= 0 else ""

    @property
    def begin_text(self) -> str:
        return self.marker(int(lib.llama_vocab_bos(self._vocab)))

    @property
    def end_text(self) -> str:
        return self.marker(int(lib.llama_vocab_eos(self._vocab)))

    @functools.cached_property
    def special_texts(self) -> frozenset[str]:
        """Spellings that the tokeniser would turn into one special token.

        Those of blanks alone are left out: they belong to ordinary text.
        """
        return frozenset(text for text in self._special if len(text) > 1 and not text.isspace())

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of `text`, nothing added. With `special`, markers in it become control tokens.

        Without, a few of llama.cpp's user-defined tokens do so all the same, but none of Harmony's: its
        vocabularies are tokenised word by word, and no marker is a word.
        """
        if not special and self._words is not None:
            return self._words.tokenize(text)
        return self.whole(text, special=special)

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        """`tokenize` for each of `texts`; faster than one by one."""
        if self._words is not None:
            return self._words.tokenize_all(texts)
        return [self.whole(text) for text in texts]

    def whole(self, text: str, *, special: bool = False) -> list[int]:
        """What llama.cpp makes of `text`, in pieces that it survives."""
        tokens: list[int] = []
        start = 0
        for cut in [*_cuts(text, self.special_texts if special else ()), len(text)]:
            tokens += self._tokenize(text[start:cut].encode("utf-8", "replace"), special=special)
            start = cut
        return tokens

    def _tokenize(self, text: bytes, *, special: bool) -> list[int]:
        if not text:
            return []
        room = len(text) + 1  # a byte is a token at the most, and some vocabularies put a space in front
        buffer = (ctypes.c_int32 * room)()
        count = lib.llama_tokenize(self._vocab, text, len(text), buffer, room, False, special)
        if count < 0:
            raise ValueError(f"text of {len(text)} bytes gives {-count} tokens, more than bytes")
        return buffer[:count]


def _cuts(text: str, markers: Iterable[str]) -> Iterator[int]:
    """Where to cut the runs that are too long, but not inside a marker."""
    for run in _LONG_RUN.finditer(text):
        start = run.start()
        while run.end() - start > _LONGEST_RUN:
            start = _outside(text, _good_cut(text, start), markers)
            yield start


def _good_cut(text: str, start: int) -> int:
    """The last place within reach where a word ends, so that the tokens are the same as without a cut."""
    end = start + _LONGEST_RUN
    for cut in range(end, end - _LONGEST_RUN // 2, -1):
        if text[cut - 1].isalpha() and text[cut] in _AFTER_WORDS:
            return cut
    return end


def _outside(text: str, cut: int, markers: Iterable[str]) -> int:
    """`cut`, or the start of the marker that it falls into."""
    for marker in markers:
        at = text.find(marker, max(0, cut - len(marker) + 1), cut + len(marker) - 1)
        if 0 <= at < cut:
            return at
    return cut
