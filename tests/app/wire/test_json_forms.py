"""The ways in which servers ask for JSON, and for other constraints."""

from typing import Any

import pytest

from ossctl.app.wire.json_forms import with_response_format
from ossctl.errors import RequestError

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}
OBJECT = {"response_format": {"type": "json_object"}}


def json_schema(**fields: object) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", **fields}}}


def refusal(**fields: object) -> str:
    with pytest.raises(RequestError) as refused:
        with_response_format(fields, ("response_format",), "body.")
    return refused.value.message


@pytest.mark.parametrize(
    "given",
    [
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "schema": SCHEMA, "json_schema": None}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": None}}},
        {"guided_json": SCHEMA},
        {"guided_json": '{"type": "object", "properties": {"name": {"type": "string"}}}'},
        {"structured_outputs": {"json": SCHEMA, "regex": None, "disable_any_whitespace": True}},
        {"format": SCHEMA},
        {"json_schema": SCHEMA},
        {"guided_json": SCHEMA, "guided_choice": [], "format": "", "response_format": {"type": "text"}},
    ],
)
def test_a_schema_is_found_in_every_form(given: dict[str, Any]) -> None:
    assert with_response_format({**given, "seed": 5}, ("response_format",)) == {
        "seed": 5,
        **json_schema(schema=SCHEMA),
    }


@pytest.mark.parametrize(
    "given", [OBJECT, {"format": "json"}, {"structured_outputs": {"json_object": True, "choice": None}}]
)
def test_any_json_is_found_in_every_form(given: dict[str, Any]) -> None:
    assert with_response_format(given, ("response_format",)) == OBJECT


@pytest.mark.parametrize("given", [{"response_format": {"type": "text"}}, {"response_format": "json"}, {}])
def test_what_is_right_or_not_understood_is_left_to_the_parser(given: dict[str, Any]) -> None:
    assert with_response_format(given, ("response_format",)) == given


def test_openais_own_form_keeps_its_name_and_description() -> None:
    given = json_schema(schema=SCHEMA, name="person", description="Who.", strict=True)
    assert with_response_format(given, ("response_format",)) == given


@pytest.mark.parametrize(
    "given", [{"response_format": {}}, {"format": ""}, {"structured_outputs": {}}, {"guided_regex": ""}]
)
def test_an_empty_constraint_is_none(given: dict[str, Any]) -> None:
    assert with_response_format(given, ("response_format",)) == {}


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"guided_choice": ["yes", "no"]}, "choice", ["yes", "no"]),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "choice", ["yes", "no"]),
        ({"guided_regex": "[0-9]+"}, "regex", "[0-9]+"),
        ({"response_format": {"type": "regex", "pattern": "[0-9]+"}}, "regex", "[0-9]+"),
        ({"guided_grammar": "start: A"}, "grammar", "start: A"),
    ],
)
def test_other_constraints_have_one_field_each_or_are_refused(
    given: dict[str, Any], field: str, value: object
) -> None:
    assert with_response_format(given, ("response_format", field)) == {field: value}
    (name,) = given
    assert refusal(**given) == f"body.{name} is not supported: it needs {field}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"guided_json": SCHEMA, "format": "json"}, "guided_json and format both constrain the answer"),
        ({"guided_json": "{"}, "guided_json is not a JSON schema"),
        ({"format": "xml"}, "format is not a JSON schema"),
        ({"guided_json": [1]}, "guided_json is not a JSON schema"),
        ({"structured_outputs": "json"}, "structured_outputs: expected object"),
        (
            {"structured_outputs": {"structural_tag": "{}"}},
            "structured_outputs.structural_tag is not supported",
        ),
        ({"structured_outputs": {"json": SCHEMA, "regex": "a"}}, "structured_outputs has json and regex"),
    ],
)
def test_a_constraint_that_makes_no_sense_is_refused_by_its_name(given: dict[str, Any], message: str) -> None:
    assert refusal(**given).startswith(message)
