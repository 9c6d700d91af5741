"""JSON schemas as masks over the vocabulary, by llguidance."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from ossctl.errors import RequestError
from ossctl.guide import GuideFailed, Mask

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions  # it is in their stubs only

# Blanks between JSON's parts say nothing, and a model can lose itself in them.
_COMPACT: "JsonCompileOptions" = {"whitespace_flexible": False}

_KEPT_GRAMMARS = 64


class GrammarVocabulary(Protocol):
    """What a grammar needs of the model's vocabulary."""

    @property
    def size(self) -> int: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def end_ids(self) -> frozenset[int]: ...
    @property
    def pieces(self) -> Sequence[bytes]: ...
    def tokenize(self, text: str) -> list[int]: ...


class JsonGrammars:
    """Compiles JSON schemas, each once. The first takes a second: the vocabulary becomes a trie."""

    def __init__(self, vocabulary: GrammarVocabulary) -> None:
        self._vocabulary = vocabulary
        self._matcher = functools.lru_cache(maxsize=_KEPT_GRAMMARS)(self._compile)

    def json(self, schema: Any, field: str) -> "JsonGrammar":
        """See `GrammarCompiler.json`."""
        if "x-guidance" in schema:
            raise RequestError(f"{field}: x-guidance is not supported")
        try:
            matcher = self._matcher(msgspec.json.encode(schema).decode())
        except ValueError as error:  # nested too deeply
            raise RequestError(f"{field}: {error}") from None
        if matcher.is_error():
            raise RequestError(f"{field}: {_reason(matcher.get_error())}")
        return JsonGrammar(matcher.deep_copy(), self._vocabulary.size)

    @functools.cached_property
    def _tokenizer(self) -> "LLTokenizer":
        from llguidance import LLTokenizer, TokenizerWrapper  # 15 ms that few commands need

        return LLTokenizer(TokenizerWrapper(_Tokens(self._vocabulary)), n_vocab=self._vocabulary.size)

    def _compile(self, schema: str) -> "LLMatcher":
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(schema, overrides=_COMPACT)
        return LLMatcher(self._tokenizer, grammar, log_level=0)


class JsonGrammar:
    """One text's way through a grammar."""

    def __init__(self, matcher: "LLMatcher", n_vocab: int) -> None:
        self._matcher = matcher
        self._n_vocab = n_vocab

    @property
    def complete(self) -> bool:
        """See `Grammar.complete`."""
        return self._matcher.is_accepting()

    @property
    def finished(self) -> bool:
        """See `Grammar.finished`."""
        return self._matcher.is_stopped()

    def forced(self) -> Sequence[int]:
        """See `Guide.forced`."""
        return self._matcher.compute_ff_tokens()

    def banned(self) -> Mask:
        """See `Guide.banned`."""
        allowed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        bits = np.unpackbits(~allowed, count=self._n_vocab, bitorder="little")
        return bits.view(np.bool_)

    def accept(self, token: int) -> None:
        """See `Guide.accept`."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = _reason(self._matcher.get_error())
            raise GuideFailed(f"the schema became too complex to enforce: {reason}")


class _Tokens:
    """The vocabulary in the form that llguidance reads: control tokens begin with a byte of their own."""

    def __init__(self, vocabulary: GrammarVocabulary) -> None:
        special = vocabulary.special_ids
        self.tokens = [
            b"\xff" + piece if token in special else piece for token, piece in enumerate(vocabulary.pieces)
        ]
        self.special_token_ids = sorted(special)
        self.eos_token_id = min(vocabulary.end_ids)
        self.bos_token_id = None
        self._tokenize: Callable[[str], list[int]] = vocabulary.tokenize

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenize(text.decode("utf-8", "replace"))


def _reason(message: str) -> str:
    """The first line, and what a regex parser says at the end; between them is llguidance's state."""
    first, _, rest = message.partition("\n")
    details = [line.strip() for line in rest.splitlines() if line.startswith("error: ")]
    return " ".join([first.strip(), *details[-1:]])
