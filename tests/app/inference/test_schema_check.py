"""The last check of an answer against its schema."""

from typing import Any

import numpy as np
import pytest

from ossctl.app.inference.generation import Generation
from ossctl.app.inference.schema_check import misfit_of
from ossctl.dialect import Answer, Conversation, Event, JsonFormat, Message, Tool, ToolCall, ToolChoice
from ossctl.engine.request import FinishReason, Generated, Request, TokenLogprob

NUMBER = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CALL = Tool("f", "", NUMBER)


class OneEvent:
    reasoning_tokens = 0
    answering = True

    def __init__(self, event: Event) -> None:
        self._event = event

    def feed(self, token: int) -> tuple[Event]:
        return (self._event,)

    def close(self, *, cut: bool) -> tuple[()]:
        return ()


def misfit(event: Event, finish: FinishReason = FinishReason.STOP, **fields: Any) -> str:
    generation = Generation(Request("1", np.arange(2, dtype=np.int32), 9), OneEvent(event))
    generation.feed(Generated("1", 0, TokenLogprob(-1.0, ()), finish, cached_tokens=0))
    error = misfit_of(Conversation((Message("user", "x"),), **fields), generation)
    assert error is None or error.code == "schema_unsatisfied"
    return error.message if error else ""


def misfit_of_text(schema: dict[str, Any], text: str) -> str:
    return misfit(Answer(text), json_format=JsonFormat(schema)).removeprefix(
        "the answer does not fit the schema: "
    )


@pytest.mark.parametrize(
    ("schema", "text", "reason"),
    [
        (NUMBER, r'{"a":1,"\u0061":"x"}', "the property 'a' is repeated"),
        ({"minProperties": 2}, '{"b":1,"b":1}', "the property 'b' is repeated"),
        ({"type": "array"}, '[{"b":1,"b":2}]', "the property 'b' is repeated"),
        (
            {"patternProperties": {"^x": {"type": "null"}}},
            r'{"\u0078":1}',
            "at $.x: 1 is not of type 'null' (schema: /patternProperties/^x/type)",
        ),
        (
            {"exclusiveMinimum": 0, "maximum": 0.5},
            "-0",
            "0 is less than or equal to the minimum of 0 (schema: /exclusiveMinimum)",
        ),
        (
            {"items": NUMBER},
            '[{"a":1},{"a":"x"}]',
            "at $[1].a: 'x' is not of type 'integer' (schema: /items/properties/a/type)",
        ),
        ({}, "{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ({}, "NaN", "NaN is not JSON"),
        ({}, "[" * 100_000 + "]" * 100_000, "it is nested too deeply"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(schema: dict[str, Any], text: str, reason: str) -> None:
    assert misfit_of_text(schema, text) == reason


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (NUMBER, '{"a":1,"b":2}'),
        ({"multipleOf": 0.1}, "0.3"),
        ({"type": "string", "pattern": r"^\p{L}+$"}, '"é"'),
        ({"patternProperties": {r"^\p{L}$": {}}, "additionalProperties": False}, '{"é":1}'),
        ({"type": "integer"}, "1" * 5_000),
        ({"type": "string", "format": "date"}, '"tomorrow"'),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "[[],[[]]]"),
    ],
)
def test_what_fits_has_no_complaint(schema: dict[str, Any], text: str) -> None:
    assert misfit_of_text(schema, text) == ""


def test_an_answer_that_was_cut_is_not_checked() -> None:
    assert misfit(Answer("{"), FinishReason.LENGTH, json_format=JsonFormat({})) == ""


def test_the_arguments_of_a_required_call_are_checked() -> None:
    bad = ToolCall("f", '{"a":"x"}')
    required = misfit(bad, tools=(CALL,), tool_choice=ToolChoice("required"))
    reason = "at $.a: 'x' is not of type 'integer' (schema: /properties/a/type)"
    assert required == f"the call does not fit the schema: {reason}"
    assert misfit(bad, tools=(CALL,)) == ""
    assert misfit(ToolCall("f", '{"a":1}'), tools=(CALL,), tool_choice=ToolChoice("required")) == ""
