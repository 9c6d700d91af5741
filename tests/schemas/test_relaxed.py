"""Schemas as near to themselves as a grammar can hold them."""

from typing import Any

import pytest

from ossctl.schemas.patterns import checked_pattern, held_pattern
from ossctl.schemas.references import References
from ossctl.schemas.relaxed import relaxed

AB = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "integer"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        AB,
        {"type": "string", "format": "date", "pattern": r"^\d+$", "title": "Title"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"not": {}, "id": {}}}}},
        {"type": "object", "properties": {"uniqueItems": {"type": "boolean"}}, "required": ["uniqueItems"]},
    ],
)
def test_a_schema_that_a_grammar_holds_is_not_changed(schema: dict[str, Any]) -> None:
    assert relaxed(schema).schema is schema
    assert relaxed(schema).unheld == ()


@pytest.mark.parametrize(
    ("schema", "held"),
    [
        # annotations, and keywords that allow everything
        ({"type": "string", "format": "path"}, {"type": "string"}),
        ({"propertyNames": {"type": "string"}}, {}),
        ({"unevaluatedProperties": True}, {"additionalProperties": True}),
        # older forms
        ({"minimum": 0, "exclusiveMinimum": True}, {"exclusiveMinimum": 0}),
        ({"minimum": 0, "exclusiveMinimum": False}, {"minimum": 0}),
        ({"items": [{}, {"type": "null"}], "additionalItems": False},
         {"prefixItems": [{}, {"type": "null"}], "items": False}),
        ({"minLength": 2.0}, {"minLength": 2}),
        ({"type": "null", "nullable": True}, {"anyOf": [{"type": "null"}, {"type": "null"}]}),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "null", "nullable": True},
         {"type": "null"}),
        # references
        ({"$ref": "#x", "$defs": {"a": {"$anchor": "x", "type": "null"}}},
         {"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}),
        ({"$dynamicAnchor": "n", "items": {"$dynamicRef": "#n"}}, {"items": {"$ref": "#"}}),
        # arrays
        ({"contains": {"const": 1}}, {"minItems": 1, "prefixItems": [{"const": 1}]}),
        ({"contains": {"const": 1}, "minContains": 0}, {"minItems": 0}),
        ({"type": "array", "items": {"const": 1}, "uniqueItems": True}, {"type": "array", "enum": [[], [1]]}),
        ({"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2},
         {"type": "array", "enum": [[False, True], [True, False]]}),
        ({"prefixItems": [{}], "unevaluatedItems": False}, {"prefixItems": [{}], "items": False}),
        # objects
        ({"propertyNames": {"enum": ["a"]}, "additionalProperties": {"type": "null"}},
         {"properties": {"a": {"type": "null"}}, "additionalProperties": False}),
        ({"propertyNames": {"pattern": "^a"}},
         {"patternProperties": {"^a": True}, "additionalProperties": False}),
        ({"propertyNames": {"maxLength": 3}},
         {"patternProperties": {r"^[\s\S]{0,3}$": True}, "additionalProperties": False}),
        ({"dependentRequired": {"a": ["b"]}},
         {"allOf": [{"anyOf": [{"properties": {"a": False}}, {"required": ["b"]}]}]}),
        (AB | {"minProperties": 1}, AB | {"allOf": [{"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}]}),
        (AB | {"maxProperties": 1},
         AB | {"allOf": [{"anyOf": [{"properties": {"b": False}}, {"properties": {"a": False}}]}]}),
        (AB | {"maxProperties": 2}, AB),
        # conditions
        ({"not": {"type": ["number", "array"]}}, {"type": ["null", "boolean", "string", "object"]}),
        ({"enum": [1, True, "a"], "not": {"const": 1}}, {"enum": [True, "a"]}),
        ({"properties": {"a": {"not": {}}}}, {"properties": {"a": {"allOf": [False]}}}),
        (AB | {"if": {"properties": {"a": {"const": "x"}}, "required": ["a"]}, "then": {"required": ["b"]}},
         AB | {"allOf": [{"anyOf": [
             {"allOf": [{"properties": {"a": {"const": "x"}}, "required": ["a"]}, {"required": ["b"]}]},
             {"properties": {"a": {"enum": ["y"]}}},
         ]}]}),
    ],
)  # fmt: skip
def test_what_can_be_said_in_other_terms_is_held(schema: dict[str, Any], held: dict[str, Any]) -> None:
    found = relaxed(schema)
    assert found.schema == held
    assert found.unheld == ()


@pytest.mark.parametrize(
    ("schema", "held", "unheld"),
    [
        ({"items": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}},
         {"items": {"type": "array", "items": {"type": "string"}}}, ["uniqueItems at /items"]),
        ({"not": {"minimum": 3}}, {}, ["not at /"]),
        ({"if": {"minimum": 3}, "then": {"multipleOf": 2}}, {}, ["if at /"]),
        ({"properties": {"a/b": {"pattern": "^(?!x)y"}}},
         {"properties": {"a/b": {"pattern": "^y"}}}, ["pattern at /properties/a~1b"]),
        ({"contains": {}, "maxContains": 3}, {"minItems": 1}, ["maxContains at /"]),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, {"type": ["object", "boolean"]},
         ["$ref to https://json-schema.org/draft/2020-12/schema"]),
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_left_out_and_named(
    schema: dict[str, Any], held: dict[str, Any], unheld: list[str]
) -> None:
    found = relaxed(schema)
    assert found.schema == held
    assert list(found.unheld) == unheld


@pytest.mark.parametrize(
    ("schema", "reference"),
    [
        ({"$ref": "#/nowhere"}, "#/nowhere"),
        ({"items": {"$ref": "other.json"}}, "other.json"),
        ({"$defs": {"a": {"$ref": "#b"}}, "$ref": "#/$defs/a"}, "#b"),
    ],
)
def test_a_reference_to_nothing_is_an_error(schema: dict[str, Any], reference: str) -> None:
    with pytest.raises(ValueError, match=f"^the reference '{reference}' leads to nothing in the schema$"):
        relaxed(schema)


def test_references_are_resolved_against_the_ids_around_them() -> None:
    schema: dict[str, Any] = {
        "$id": "http://example.com/a/root.json",
        "items": {"$ref": "b/item.json#/$defs/x"},
        "$defs": {"item": {"$id": "b/item.json", "$defs": {"x": {"$ref": "#"}}}},
    }
    references = References(schema)
    assert references.target(schema["items"]) == "/$defs/item/$defs/x"
    assert references.target(schema["$defs"]["item"]["$defs"]["x"]) == "/$defs/item"


@pytest.mark.parametrize(
    ("pattern", "held", "exact"),
    [
        (r"^a[)(]+\.$", r"^a[)(]+\.$", True),
        (r"^(?!^[-+.]*$)[+-]?\d*$", r"^[+-]?\d*$", False),
        (r"(?<=a(?:b|[)]))c(?=d){2}e", "ce", False),
        (r"\bcat\b", "cat", False),
        (r"(a)\1", r"(a)[\s\S]*", False),
        ("[^]|[]|[[&&]", r"[\s\S]|[^\s\S]|[\[\&\&]", True),
        (r"\cA[\b\cA]", r"\x01[\x08\x01]", True),
    ],
)
def test_a_pattern_is_held_without_its_lookaround(pattern: str, held: str, exact: bool) -> None:
    assert held_pattern(pattern) == (held, exact)
    if exact:
        assert checked_pattern(pattern) == held
