#!/usr/bin/env bash
# llguidance 1.9.1: a oneOf of objects told apart by a const tag is accepted if the tag is required, and refused if it
# is not. pydantic 2.14.4 leaves a tag that has a default out of "required", in its validation and its serialization
# schema alike, so that `kind: Literal["cat"] = "cat"`, the usual way to write a tagged union, is refused; without the
# default it is accepted. The "discriminator" keyword that pydantic writes beside the oneOf makes no difference.
#
# Seen:
#   tag without a default, validation: accepted
#   tag without a default, serialization: accepted
#   tag with a default, validation: oneOf constraints are not supported. Enable 'coerce_one_of' option to approximate
#     oneOf with anyOf
#   tag with a default, serialization: the same
# Fails if any of these changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-cache-dir llguidance==1.9.1 pydantic==2.14.4
"$folder/venv/bin/python" - <<'PYTHON'
from typing import Annotated, Literal

from llguidance import LLMatcher
from pydantic import BaseModel, Field, TypeAdapter


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    age: int


class DefaultCat(Cat):
    kind: Literal["cat"] = "cat"


class DefaultDog(Dog):
    kind: Literal["dog"] = "dog"


UNIONS = {"without": Cat | Dog, "with": DefaultCat | DefaultDog}
for default, union in UNIONS.items():
    for mode in ("validation", "serialization"):
        schema = TypeAdapter(Annotated[union, Field(discriminator="kind")]).json_schema(mode=mode)
        assert "oneOf" in schema and schema["discriminator"]["propertyName"] == "kind", schema
        error = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(schema))
        print(f"tag {default} a default, {mode}: {error or 'accepted'}")
        assert ("oneOf constraints are not supported" in error) == (default == "with"), error
PYTHON
