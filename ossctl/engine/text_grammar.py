"""Regular expressions, choices and Lark grammars in the form that llguidance compiles."""

import json

import numpy as np

from ossctl.guide import TextFormat

_BYTES = 256  # the ids of llguidance's byte tokenizer that are text


def source_of(text_format: TextFormat) -> str:
    """The format as a grammar for llguidance."""
    from llguidance import LLMatcher  # takes 15 ms; few commands need it

    match text_format.kind:
        case "regex":
            return LLMatcher.grammar_from_regex(text_format.source)
        case "choice":
            return LLMatcher.grammar_from_lark(f"start: {' | '.join(map(json.dumps, text_format.choices))}")
        case "grammar":
            return LLMatcher.grammar_from_lark(text_format.source)


def problem_of(text_format: TextFormat) -> str:
    """Why no answer can be held to the format, "" if one can. Needs no model."""
    from llguidance import LLMatcher, LLTokenizer

    if not all(text_format.choices or [text_format.source]):
        return "it is empty"
    matcher = LLMatcher(LLTokenizer("byte"), source_of(text_format), log_level=0)
    if matcher.is_error():
        return _reason(matcher.get_error())
    bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
    return "" if matcher.is_accepting() or bits[:_BYTES].any() else "no text matches it"


def _reason(message: str) -> str:
    """A regex parser's last error, or the compiler's first line."""
    first, *rest = message.splitlines()
    details = [line.removeprefix("error: ") for line in rest if line.startswith("error: ")]
    return details[-1] if details else first
