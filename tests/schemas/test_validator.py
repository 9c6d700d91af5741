"""Validators of every draft."""

from typing import Any

import pytest

from ossctl.schemas.validator import NotASchema, check_schema, complaint

D4 = {"$schema": "http://json-schema.org/draft-04/schema#"}
D2020 = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strnig"}, "at /type: 'strnig' is not a type, must be string, number, integer, boolean"),
        ({"properties": {"a/b": {"minLength": "3"}}}, "at /properties/a~1b/minLength: '3' is not of type"),
        ({"$id": 1}, r"at /\$id: 1 is not of type 'string'"),
        ({"properties": {"a": {"$ref": [1]}}}, r"at /properties/a/\$ref: \[1\] is not of type 'string'"),
        ({"items": 5}, "at /items: 5 is not of type 'object', 'boolean'"),
        ({"required": "name"}, "at /required: 'name' is not of type 'array'"),
        ({"anyOf": []}, r"at /anyOf: \[\] should be non-empty"),
        (D4 | {"minimum": 1, "exclusiveMinimum": 5}, "at /exclusiveMinimum: 5 is not of type 'boolean'"),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_named_with_its_place(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotASchema, match=f"^{reason}"):
        check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "fitting", "other"),
    [
        ({"minimum": 1, "exclusiveMinimum": True}, 2, 1),
        (D4 | {"minimum": 1, "exclusiveMinimum": True}, 2, 1),
        ({"exclusiveMinimum": 1}, 2, 1),
        ({"items": [{"const": 1}], "additionalItems": False}, [1], [1, 1]),
        ({"prefixItems": [{"const": 1}], "items": False}, [1], [1, 1]),
        ({"dependencies": {"a": ["b"]}}, {"b": 1}, {"a": 1}),
        ({"dependencies": {"a": {"required": ["b"]}}}, {"a": 1, "b": 1}, {"a": 1}),
        ({"type": "string", "nullable": True}, None, 1),
        (D2020 | {"type": "string", "nullable": True}, "a", None),
        ({"not": {"pattern": "^a"}}, "b", "ab"),
        ({"not": {"multipleOf": 0.1}}, 0.25, 0.3),
        ({"pattern": r"^(?!x)\p{L}+$"}, "é", "x"),
        ({"patternProperties": {r"^\p{L}$": {}}, "additionalProperties": False}, {"é": 1}, {"1": 1}),
        ({"additionalProperties": {"type": "null"}, "properties": {"a": {}}}, {"a": 1, "b": None}, {"b": 1}),
        (D2020 | {"$defs": {"a": {"$anchor": "x", "const": 1}}, "$ref": "#x"}, 1, 2),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, {"type": "null"}, {"type": "nil"}),
        ({"$schema": "https://example.com/house-style", "const": 1}, 1, 2),
    ],
)  # fmt: skip
def test_an_answer_is_checked_by_the_draft_of_its_schema(
    schema: dict[str, Any], fitting: Any, other: Any
) -> None:
    assert complaint(fitting, schema) == ""
    assert complaint(other, schema)
