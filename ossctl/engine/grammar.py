"""JSON schemas as masks over the vocabulary, compiled by llguidance."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from ossctl.engine.closed_schema import closed, find_culprit
from ossctl.errors import RequestError
from ossctl.guide import GuideFailed, Mask

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions  # exists in the stubs only

# Whitespace between JSON's parts means nothing, and a model can get stuck generating it.
_COMPACT: "JsonCompileOptions" = {"whitespace_flexible": False}
_SPACED = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

_CACHED_GRAMMARS = 64


class GrammarVocabulary(Protocol):
    """The part of a model's vocabulary that grammars need."""

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
    """Compiles JSON schemas and caches them. The first takes a second, to make a trie of the vocabulary."""

    def __init__(self, vocabulary: GrammarVocabulary) -> None:
        self._vocabulary = vocabulary
        self._matcher = functools.lru_cache(maxsize=_CACHED_GRAMMARS)(self._compile)
        self._lark_matcher = functools.lru_cache(maxsize=_CACHED_GRAMMARS)(self._compile_lark)

    def json(self, schema: Any, field: str) -> "JsonGrammar":
        if "x-guidance" in schema:
            raise RequestError(f"{field}: x-guidance is not supported")
        try:
            matcher = self._matcher(msgspec.json.encode(schema).decode())
        except ValueError as error:  # nested too deeply
            raise RequestError(f"{field}: {error}") from None
        if matcher.is_error():
            reason = _reason(matcher.get_error())
            pointer = find_culprit(schema, lambda part: self._error_of(part) == reason)
            raise RequestError(f"{field}: {f'at {pointer}: ' if pointer else ''}{reason}")
        return JsonGrammar(matcher.deep_copy(), self._vocabulary.size)

    def lark(self, text: str, schemas: Sequence[Any], field: str) -> "JsonGrammar":
        """Spaces follow commas and colons in JSON, as in the templates that models were trained with."""
        for number, schema in enumerate(schemas):
            self.json(schema, field)  # to say what is wrong with this one
            spaced = msgspec.json.encode({**closed(schema), "x-guidance": _SPACED}).decode()
            text = text.replace(f"@schema{number}@", spaced)
        matcher = self._lark_matcher(text)
        if matcher.is_error():
            raise RequestError(f"{field}: {_reason(matcher.get_error())}")
        return JsonGrammar(matcher.deep_copy(), self._vocabulary.size)

    def _compile_lark(self, text: str) -> "LLMatcher":
        from llguidance import LLMatcher

        return LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(text), log_level=0)

    @functools.cached_property
    def _tokenizer(self) -> "LLTokenizer":
        from llguidance import LLTokenizer, TokenizerWrapper  # takes 15 ms; few commands need it

        return LLTokenizer(TokenizerWrapper(_Tokens(self._vocabulary)), n_vocab=self._vocabulary.size)

    def _compile(self, schema: str) -> "LLMatcher":
        """A matcher for the closed schema, or for `schema` itself if that is not satisfiable when closed."""
        matcher = self._compile_text(msgspec.json.encode(closed(msgspec.json.decode(schema))).decode())
        return self._compile_text(schema) if matcher.is_error() else matcher

    def _compile_text(self, schema: str) -> "LLMatcher":
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(schema, overrides=_COMPACT)
        return LLMatcher(self._tokenizer, grammar, log_level=0)

    def _error_of(self, schema: Any) -> str:
        """Why `schema` cannot be compiled, "" if it can."""
        try:
            matcher = self._compile_text(msgspec.json.encode(schema).decode())
        except ValueError as error:
            return str(error)
        return _reason(matcher.get_error()) if matcher.is_error() else ""


class JsonGrammar:
    """The state of one text in a grammar."""

    def __init__(self, matcher: "LLMatcher", n_vocab: int) -> None:
        self._matcher = matcher
        self._n_vocab = n_vocab

    @property
    def complete(self) -> bool:
        return self._matcher.is_accepting()

    @property
    def finished(self) -> bool:
        return self._matcher.is_stopped()

    def forced(self) -> Sequence[int]:
        return self._matcher.compute_ff_tokens()

    def banned(self) -> Mask:
        allowed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        bits = np.unpackbits(~allowed, count=self._n_vocab, bitorder="little")
        return bits.view(np.bool_)

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = _reason(self._matcher.get_error())
            raise GuideFailed(f"the schema became too complex to enforce: {reason}")


class _Tokens:
    """The vocabulary as llguidance expects it: control tokens start with a 0xFF byte."""

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
    """The first line and a regex parser's last error; llguidance's state between them is left out."""
    first, _, rest = message.partition("\n")
    details = [line.strip() for line in rest.splitlines() if line.startswith("error: ")]
    return " ".join([first.strip(), *details[-1:]])
