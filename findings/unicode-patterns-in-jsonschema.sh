#!/usr/bin/env bash
# jsonschema 4.26.0 reads "pattern" and "patternProperties" as Python's re. \p{L}, a valid ECMA 262 pattern with the
# u flag that JSON Schema recommends, has two effects: check_schema calls the valid schema invalid, and iter_errors
# raises re.error, which is neither a ValidationError nor a SchemaError. llguidance 1.9.1 accepts the same schemas and
# applies them as meant, so a constraint can generate values that a validator then cannot check.
#
# Seen, with {"pattern": "^\p{L}+$"} and with {"patternProperties": {"^\p{L}+$": {}}}, alike:
#   check_schema: SchemaError: '^\\p{L}+$' is not a 'regex'
#   iter_errors: error: bad escape \p at position 1
#   llguidance: takes a letter, refuses a digit
# Fails if any of these changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-cache-dir jsonschema==4.26.0 llguidance==1.9.1
"$folder/venv/bin/python" - <<'PYTHON'
import json
import re

from jsonschema import Draft202012Validator, SchemaError
from llguidance import LLMatcher, LLTokenizer

tokenizer = LLTokenizer("byte")
LETTERS = r"^\p{L}+$"
SCHEMAS = {
    "pattern": ({"type": "string", "pattern": LETTERS}, "é", "9"),
    "patternProperties": (
        {"type": "object", "patternProperties": {LETTERS: {}}, "additionalProperties": False},
        {"é": 1},
        {"9": 1},
    ),
}


def takes(schema, value):
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_json_schema(schema), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = tokenizer.tokenize_str(json.dumps(value, ensure_ascii=False))
    return matcher.consume_tokens(tokens) and matcher.is_accepting()


def raised(run):
    try:
        run()
    except (SchemaError, re.error) as error:
        return error
    raise AssertionError("nothing was raised")


for keyword, (schema, letter, digit) in SCHEMAS.items():
    checked = raised(lambda: Draft202012Validator.check_schema(schema))
    print(f"{keyword}: check_schema: {type(checked).__name__}: {checked.message}")
    assert isinstance(checked, SchemaError)
    found = raised(lambda: list(Draft202012Validator(schema).iter_errors(letter)))
    print(f"{keyword}: iter_errors: {type(found).__name__}: {found}")
    assert isinstance(found, re.error)
    took = takes(schema, letter), takes(schema, digit)
    print(f"{keyword}: llguidance takes {letter!r}, {digit!r}: {took}")
    assert took == (True, False)
PYTHON
