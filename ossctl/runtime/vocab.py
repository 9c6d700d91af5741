"""A model's vocabulary. Tokenizing text never creates control tokens unless asked to."""

import ctypes
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np

from ossctl.runtime.bindings import lib
from ossctl.runtime.marked_text import MarkedText
from ossctl.runtime.words import Words

# For many vocabularies, including gpt-oss's, llama.cpp splits text before BPE with std::regex, which recurses
# for each character of a match: 50,000 letters overflow an 8 MiB stack and kill the process. Matches end
# where whitespace begins or ends, so only longer runs are cut.
_LONGEST_RUN = 2_000
_LONG_RUN = re.compile(
    rf"(?<![^\t-\r ])[^\t-\r ]{{{_LONGEST_RUN + 1},}}|(?<!\s)\s{{{_LONGEST_RUN + 1},}}",
)
_AFTER_WORDS = frozenset(",.;:!?()[]{}-/、。，；：！？（）「」")  # noqa: RUF001 (punctuation of Chinese and Japanese)


class Vocabulary:
    """The tokens of a loaded model, usable until the model is closed.

    `pre_tokenizer` is llama.cpp's name for the pattern that splits text before BPE.
    """

    def __init__(self, model: object, pre_tokenizer: str = "") -> None:
        self._vocab = lib.llama_model_get_vocab(model)
        self._pre_tokenizer = pre_tokenizer
        self.size: int = lib.llama_vocab_n_tokens(self._vocab)
        self._pieces: dict[int, bytes] = {}

    @functools.cached_property
    def special_ids(self) -> frozenset[int]:
        """Control tokens and user-defined tokens (`<think>`, and Harmony's markers in llama.cpp)."""
        mask = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        attributes = map(lib.llama_vocab_get_attr, repeat(self._vocab), range(self.size))
        return frozenset(token for token, attribute in enumerate(attributes) if attribute & mask)

    @functools.cached_property
    def control_ids(self) -> frozenset[int]:
        """Control tokens, which are never text."""
        return frozenset(t for t in self.special_ids if lib.llama_vocab_is_control(self._vocab, t))

    @functools.cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a generation, EOS and others."""
        return frozenset(t for t in self.special_ids if lib.llama_vocab_is_eog(self._vocab, t))

    @functools.cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of all tokens, by id."""
        if self._words is None or not self.special_ids:
            return [self.piece(token) for token in range(self.size)]
        return self._detokenized(min(self.special_ids))

    def _detokenized(self, marker: int) -> list[bytes]:
        """All pieces from one call, separated by `marker`, in a tenth of the time.

        Only for vocabularies in which llama.cpp's detokenizer does not clean up whitespace.
        """
        ids = np.full((self.size, 2), marker, np.int32)
        ids[:, 0] = np.arange(self.size)
        ids[marker, 0] = (marker + 1) % self.size  # its own text would look like two separators
        given = self._vocab, ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)), ids.size
        length = -lib.llama_detokenize(*given, None, 0, False, True)
        buffer = ctypes.create_string_buffer(length)
        lib.llama_detokenize(*given, buffer, length, False, True)
        text = self.piece(marker)
        pieces = buffer.raw.split(text)[:-1]
        pieces[marker] = text
        return pieces

    def piece(self, token: int) -> bytes:
        """The bytes of `token`; for a control token, its marker."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._read_piece(token)
        return found

    def _read_piece(self, token: int) -> bytes:
        if not 0 <= token < self.size:
            raise ValueError(f"token {token} is outside the vocabulary of {self.size}")
        buffer = ctypes.create_string_buffer(256)
        length = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        return buffer.raw[:length]

    @property
    def begin_id(self) -> int | None:
        """The token with which every prompt starts; None if the model was trained without one."""
        token = int(lib.llama_vocab_bos(self._vocab))
        return token if token >= 0 and lib.llama_vocab_get_add_bos(self._vocab) else None

    @functools.cached_property
    def _words(self) -> Words | None:
        return Words.of(self, self._pre_tokenizer)

    @property
    def end_id(self) -> int:
        """The EOS token of the metadata, else any token that ends a generation."""
        token = int(lib.llama_vocab_eos(self._vocab))
        return token if token >= 0 else min(self.end_ids)

    def id_of(self, marker: str) -> int | None:
        """The special token with this text; None if there is none."""
        return self._special.get(marker)

    @functools.cached_property
    def _special(self) -> dict[str, int]:
        return {self.marker(token): token for token in sorted(self.special_ids, reverse=True)}

    def marker(self, token: int) -> str:
        """The text of a special token; '' for a negative id, which means that there is none."""
        return self.piece(token).decode("utf-8", "replace") if token >= 0 else ""

    @property
    def begin_text(self) -> str:
        return self.marker(int(lib.llama_vocab_bos(self._vocab)))

    @property
    def end_text(self) -> str:
        return self.marker(int(lib.llama_vocab_eos(self._vocab)))

    @functools.cached_property
    def special_texts(self) -> frozenset[str]:
        """Texts of special tokens, without whitespace and single characters, which occur in ordinary text."""
        return frozenset(text for text in self._special if len(text) > 1 and not text.isspace())

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of `text`, without BOS or EOS. If `special`, markers in it become control tokens.

        Otherwise llama.cpp still recognises some user-defined tokens, but none of Harmony's: its vocabularies
        are tokenized word by word, and no marker is a word.
        """
        if not special and self._words is not None:
            return self._words.tokenize(text)
        return self.llama_tokenize(text, special=special)

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        """`tokenize` each of `texts`, faster than one by one."""
        if self._words is not None:
            return self._words.tokenize_all(texts)
        return [self.llama_tokenize(text) for text in texts]

    def llama_tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """The token ids from llama.cpp, which gets long runs in pieces so that it does not crash."""
        return self._marked.tokenize(text) if special else self._tokenize_runs(text)

    @functools.cached_property
    def _marked(self) -> MarkedText:
        attributes = ((token, lib.llama_vocab_get_attr(self._vocab, token)) for token in self.special_ids)
        stripping = {self.marker(token) for token, each in attributes if each & lib.LLAMA_TOKEN_ATTR_LSTRIP}
        tokenize = functools.partial(self._tokenize_runs, special=True)
        return MarkedText(tokenize, self.special_texts, stripping)

    def _tokenize_runs(self, text: str, *, special: bool = False) -> list[int]:
        tokens: list[int] = []
        start = 0
        for cut in [*_cuts(text, self.special_texts if special else ()), len(text)]:
            tokens += self._tokenize(text[start:cut].encode("utf-8", "replace"), special=special)
            start = cut
        return tokens

    def _tokenize(self, text: bytes, *, special: bool) -> list[int]:
        if not text:
            return []
        most = len(text) + 1  # at most a token per byte, and a space that some vocabularies prepend
        buffer = (ctypes.c_int32 * most)()
        count = lib.llama_tokenize(self._vocab, text, len(text), buffer, most, False, special)
        if count < 0:
            raise ValueError(f"{len(text)} bytes of text became {-count} tokens")
        return buffer[:count]


def _cuts(text: str, markers: Iterable[str]) -> Iterator[int]:
    """Positions at which to cut runs that are too long, but not inside a marker."""
    for run in _LONG_RUN.finditer(text):
        start = run.start()
        while run.end() - start > _LONGEST_RUN:
            start = _outside(text, _good_cut(text, start), markers)
            yield start


def _good_cut(text: str, start: int) -> int:
    """The last end of a word before the limit, so that the cut does not change the tokens; else the limit."""
    end = start + _LONGEST_RUN
    for cut in range(end, end - _LONGEST_RUN // 2, -1):
        if text[cut - 1].isalpha() and text[cut] in _AFTER_WORDS:
            return cut
    return end


def _outside(text: str, cut: int, markers: Iterable[str]) -> int:
    """`cut`, or the start of the marker that contains it."""
    for marker in markers:
        at = text.find(marker, max(0, cut - len(marker) + 1), cut + len(marker) - 1)
        if 0 <= at < cut:
            return at
    return cut
