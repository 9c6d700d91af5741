"""Parameters of tools as TypeScript, where the reference renderer would say less or something wrong."""

from typing import Any

import pytest

from ossctl.dialect import Tool
from ossctl.harmony.references import in_place
from ossctl.harmony.typescript import Namespace, tools_section, typescript

DEFINITIONS = {
    "Colour": {"enum": ["red", "green"], "type": "string"},
    "Period": {
        "type": "object",
        "properties": {"start": {"type": "string"}, "end": {"type": "integer"}},
        "required": ["start"],
    },
    "Tree": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
        },
    },
    "odd/na~me %": {"type": "boolean"},
}
PERIOD = "{\nstart: string,\nend?: number,\n}"
INNER_PERIOD = "{\n    start: string,\n    end?: number,\n    }"


def told(schema: dict[str, Any]) -> str:
    return typescript(in_place({"$defs": DEFINITIONS, **schema}))


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["string", "null"], "enum": ["a", "b", None]}, '"a" | "b" | null'),
        ({"type": ["string", "null"], "enum": ["a", "b"]}, '"a" | "b" | null'),
        ({"enum": ["a", 1, None, True]}, '"a" | 1 | null | true'),
        ({"type": "integer", "enum": [1, 2]}, "1 | 2"),
        ({"type": "boolean", "enum": [True]}, "true"),
        ({"const": "x"}, '"x"'),
        ({"type": "integer", "const": 3}, "3"),
        ({"type": "null"}, "null"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "null"}]}, "number | null"),
        (
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "array", "items": {"type": "string"}}]},
            '"a" | string[]',
        ),
        ({"anyOf": [{}, {"type": "null"}]}, "any"),
        ({"type": "array", "items": {"enum": ["x", "y"], "type": "string"}}, '("x" | "y")[]'),
        ({"type": "array", "items": {"type": "string", "enum": ["x"]}}, '"x"[]'),
        ({"type": "array", "items": {"type": ["string", "null"]}}, "(string | null)[]"),
        ({"type": "array", "items": {"type": "string", "nullable": True}}, "(string | null)[]"),
        ({"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "null"}]}}, "(string | null)[]"),
        ({"type": "array", "items": {"type": "array", "items": {"enum": [1, 2]}}}, "(1 | 2)[][]"),
        ({"type": "array", "prefixItems": [{"type": "number"}, {"enum": ["a", "b"]}]}, '[number, "a" | "b"]'),
        ({"type": ["array", "null"], "items": {"type": "string"}}, "string[] | null"),
        ({"items": {"type": "string"}}, "string[]"),
        (
            {"type": "string", "enum": ['say "hi"', "back\\slash", "new\nline"]},
            r'"say \"hi\"" | "back\\slash" | "new\nline"',
        ),
        (ref("Colour"), '"red" | "green"'),
        ({"$ref": "#/$defs/odd~1na~0me%20%25"}, "boolean"),
        ({"type": "array", "items": ref("Colour")}, '("red" | "green")[]'),
        ({"anyOf": [ref("Colour"), {"type": "null"}]}, '"red" | "green" | null'),
        ({"allOf": [ref("Colour")], "description": "Which"}, '"red" | "green"'),
        ({"anyOf": [ref("Period"), {"type": "null"}]}, f"{PERIOD} | null"),
        (ref("Period"), PERIOD),
        ({"properties": {"when": ref("Period")}}, f"{{\nwhen?: {INNER_PERIOD},\n}}"),
        (
            {"allOf": [ref("Period"), {"properties": {"zone": {"type": "string"}}, "required": ["zone"]}]},
            "{\nstart: string,\nend?: number,\nzone: string,\n}",
        ),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "{\n[key: string]: number,\n}"),
        ({"type": "object", "additionalProperties": True}, "{\n[key: string]: any,\n}"),
        (
            {"type": "object", "properties": {"two words": {"type": "string"}, "a-b": {"type": "string"}}},
            '{\n"two words"?: string,\n"a-b"?: string,\n}',
        ),
        (
            {
                "type": "object",
                "properties": {"q": {"enum": ["nullable"], "type": "string", "nullable": True}},
            },
            '{\nq?: "nullable" | null,\n}',
        ),
    ],
)
def test_a_type_is_told_whole(schema: dict[str, Any], expected: str) -> None:
    assert told(schema) == expected


def test_a_schema_within_itself_is_any() -> None:
    inner = "{\n    name?: string,\n    children?: any[],\n    }"
    assert told({"properties": {"tree": ref("Tree")}}) == f"{{\ntree?: {inner},\n}}"


@pytest.mark.parametrize("reference", ["#/$defs/None", "https://example.com/x", "#/$defs/Colour/enum/0", ""])
def test_a_reference_to_nothing_is_any(reference: str) -> None:
    assert told({"$ref": reference}) == "any"


def test_all_lines_of_a_comment_are_comments() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {
                "type": "string",
                "title": "One\nTwo",
                "description": "First.\nSecond.",
                "examples": ["x\ny"],
                "default": "p\nq",
            },
            "b": {
                "oneOf": [{"type": "number"}, {"type": "string", "description": "i\nj"}],
                "description": "k\nl",
            },
        },
    }
    assert told(schema).splitlines() == [
        *("{", "// One", "// Two", "//", "// First.", "// Second.", "// Examples:", '// - "x y"'),
        *('a?: string, // default: "p q"', "// k", "// l", "b?:", " | number", " | string // i j"),
        *(",", "}"),
    ]


@pytest.mark.parametrize("key", ["properties", "allOf"])
def test_references_that_multiply_are_cut_off(key: str) -> None:
    definitions: dict[str, Any] = {}
    for n in range(60):
        parts = [ref(f"d{n + 1}")] * 3
        definitions[f"d{n}"] = {key: parts if key == "allOf" else dict(zip("abc", parts, strict=True))}
    parameters = {**ref("d0"), "$defs": definitions}
    text = tools_section([Namespace("functions", tools=(Tool("f", "", parameters),))])
    assert len(text) < 200_000
