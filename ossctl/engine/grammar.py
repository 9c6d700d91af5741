"""JSON schemas and other grammars as masks over the vocabulary, compiled by llguidance."""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from ossctl.engine.text_grammar import problem_of, source_of
from ossctl.errors import RequestError
from ossctl.guide import GuideFailed, Mask, TextFormat
from ossctl.schemas.held import hold

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions  # exists in the stubs only

# Whitespace between JSON's parts means nothing, and a model can get stuck generating it.
_COMPACT: "JsonCompileOptions" = {"whitespace_flexible": False}
_SPACED = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

_CACHED_GRAMMARS = 64

_log = logging.getLogger(__name__)


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
    """Compiles JSON schemas and other grammars, and caches them.

    The first takes a second, to make a trie of the vocabulary.
    """

    def __init__(self, vocabulary: GrammarVocabulary) -> None:
        self._vocabulary = vocabulary
        self._matcher = functools.lru_cache(maxsize=_CACHED_GRAMMARS)(self._compile)
        self._text_matcher = functools.lru_cache(maxsize=_CACHED_GRAMMARS)(self._compile_format)
        self._lark_matcher = functools.lru_cache(maxsize=_CACHED_GRAMMARS)(self._compile_lark)

    def json(self, schema: Any, field: str) -> "JsonGrammar":
        matcher, _ = self._held(schema, field)
        return JsonGrammar(matcher.deep_copy(), self._vocabulary.size)

    def text(self, text_format: TextFormat) -> "JsonGrammar":
        return JsonGrammar(self._text_matcher(text_format).deep_copy(), self._vocabulary.size)

    def lark(self, text: str, schemas: Sequence[Any], field: str) -> "JsonGrammar":
        """Spaces follow commas and colons in JSON, as in the templates that models were trained with."""
        for number, schema in enumerate(schemas):
            _, held = self._held(schema, field)
            spaced = msgspec.json.encode({**held, "x-guidance": _SPACED}).decode()
            text = text.replace(f"@schema{number}@", spaced)
        matcher = self._lark_matcher(text)
        if matcher.is_error():
            raise RequestError(f"{field}: {_reason(matcher.get_error())}")
        return JsonGrammar(matcher.deep_copy(), self._vocabulary.size)

    def _held(self, schema: Any, field: str) -> "tuple[LLMatcher, Any]":
        """A matcher for the nearest schema that can be compiled, and that schema. Raises RequestError."""
        if "x-guidance" in schema:
            raise RequestError(f"{field}: x-guidance is not supported")
        try:
            found = self._matcher(msgspec.json.encode(schema).decode())
        except RecursionError:
            raise RequestError(f"{field}: nested too deeply") from None
        if isinstance(found, str):
            raise RequestError(f"{field}: {found}")
        return found

    def _compile_lark(self, text: str) -> "LLMatcher":
        from llguidance import LLMatcher

        return LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(text), log_level=0)

    @functools.cached_property
    def _tokenizer(self) -> "LLTokenizer":
        from llguidance import LLTokenizer, TokenizerWrapper  # takes 15 ms; few commands need it

        return LLTokenizer(TokenizerWrapper(_Tokens(self._vocabulary)), n_vocab=self._vocabulary.size)

    def _compile_format(self, text_format: TextFormat) -> "LLMatcher":
        """A matcher for `text_format`. Raises RequestError."""
        from llguidance import LLMatcher

        if problem := problem_of(text_format):
            raise RequestError(f"{text_format.kind}: {problem}")
        matcher = LLMatcher(self._tokenizer, source_of(text_format), log_level=0)
        if matcher.is_error():
            raise RequestError(f"{text_format.kind}: {_reason(matcher.get_error())}")
        return matcher

    def _compile(self, schema: str) -> "tuple[LLMatcher, Any] | str":
        """A matcher for the nearest schema that can be compiled, and that schema, or why there is none."""
        from llguidance import LLMatcher

        latest: LLMatcher

        def error_of(part: Any) -> str:
            nonlocal latest
            latest = LLMatcher(self._tokenizer, _grammar_of(part), log_level=0)
            return _reason(latest.get_error()) if latest.is_error() else ""

        try:
            held = hold(msgspec.json.decode(schema), error_of)
        except ValueError as error:
            return str(error)
        if held.unheld:
            _log.info("checked in the answer, not while sampling: %s", ", ".join(held.unheld))
        return latest, held.schema


def unheld_keywords(schema: Any) -> tuple[str, ...]:
    """What the grammar of `schema` does not hold, and where: that is checked in the finished answer.

    Empty for a schema without a grammar.
    """
    from llguidance import LLMatcher

    def error_of(part: Any) -> str:
        return _reason(LLMatcher.validate_grammar(_grammar_of(part)))

    try:
        return hold(schema, error_of).unheld
    except (ValueError, RecursionError):
        return ()


def _grammar_of(schema: Any) -> str:
    """The schema as a grammar that is not compiled. Raises ValueError if it is nested too deeply."""
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(msgspec.json.encode(schema).decode(), overrides=_COMPACT)


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
            raise GuideFailed(f"the schema or grammar became too complex to enforce: {reason}")


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
