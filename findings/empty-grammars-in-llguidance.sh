#!/usr/bin/env bash
# llguidance 1.9.1: a regex or Lark grammar that no text matches passes validate_grammar, and the matcher made from it
# is not in error. The first mask does not raise either: it allows the end-of-sequence token alone, so a caller that
# samples by it gets an empty answer; only is_error(), asked after that mask, reports it. The same regex as a JSON
# schema's pattern is refused by validate_grammar.
#
# Seen, over llguidance's own byte tokenizer:
#   regex:       validate_grammar: none; at the start: none; mask: only end of sequence; after it: NoExtensionBias
#   Lark:        validate_grammar: none; at the start: none; mask: only end of sequence; after it: NoExtensionBias
#   JSON schema: validate_grammar: Unsatisfiable schema: Regex is empty:  (SearchRegex /^[^\s\S]$/)
# Fails if any of these changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-cache-dir llguidance==1.9.1
"$folder/venv/bin/python" - <<'PYTHON'
from llguidance import LLMatcher, LLTokenizer

tokenizer = LLTokenizer("byte")
EMPTY = {
    "regex": LLMatcher.grammar_from_regex(r"[^\s\S]"),
    "Lark": LLMatcher.grammar_from_lark("start: TEXT\nTEXT: /[a-z]+/ & /[0-9]+/\n"),
}


def error_of(matcher):
    return matcher.get_error().split("\n")[0] if matcher.is_error() else "none"


for name, grammar in EMPTY.items():
    validated = LLMatcher.validate_grammar(grammar, tokenizer) or "none"
    matcher = LLMatcher(tokenizer, grammar)
    start = error_of(matcher)
    mask = int.from_bytes(matcher.compute_bitmask(), "little")
    only_end = mask == 1 << tokenizer.eos_token
    print(
        f"{name}: validate_grammar: {validated}; at the start: {start}; "
        f"mask: {'only end of sequence' if only_end else hex(mask)}; after it: {error_of(matcher)}"
    )
    assert (validated, start, only_end, error_of(matcher)) == ("none", "none", True, "NoExtensionBias")
pattern = LLMatcher.grammar_from_json_schema({"type": "string", "pattern": r"^[^\s\S]$"})
refused = LLMatcher.validate_grammar(pattern, tokenizer)
print(f"JSON schema: validate_grammar: {refused}")
assert "Regex is empty" in refused, refused
PYTHON
