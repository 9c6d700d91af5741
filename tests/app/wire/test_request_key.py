"""What is part of a request's identity, and that it stays the same from version to version."""

import datetime as dt
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.records import ID_PREFIX_1, ModelIdentity, ResultRecords
from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.lines import Line
from ossctl.app.wire.request_key import RequestKey
from ossctl.engine.request import Sampling

PROMPT = {"id": "a", "prompt": "Hi"}
FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "p",
        "schema": {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}},
    },
}
PARAMETERS = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
FUNCTION = {"name": "f", "description": "d", "strict": True, "parameters": PARAMETERS}
EVERYTHING = {
    "id": "a",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?", "reasoning_content": "hm"},
        {"role": "user", "content": "é"},
    ],
    "temperature": 0,
    "top_k": 5,
    "seed": 3,
    "stop": ["x"],
    "n": 2,
    "logit_bias": {"7": -1.5},
    "logprobs": True,
    "top_logprobs": 2,
    "date": "2026-01-31",
    "reasoning_effort": "low",
    "max_tokens": 9,
}

# Records that are in people's outputs have these: an answer once paid for is found for good.
IDS = [
    (PROMPT, "4b33635043534dfb3de96e3263a37506"),
    ({**PROMPT, "max_tokens": 50}, "e9e5db4d292686d105cbc87267c89ea3"),
    (EVERYTHING, "8ff76dd5dfe2f896fedaeb8df4743dcc"),
    (
        {**PROMPT, "tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"},
        "4b3e4f371f1f3af75178095ccceb53e5",
    ),
    ({**PROMPT, "response_format": FORMAT}, "e303c02f482917643db951e0e90dd143"),
]


def key_of(record: dict[str, Any]) -> RequestKey:
    line = Line(4, json.dumps(record).encode())
    return LineParser(Defaults(effort="medium", today=dt.date(2026, 11, 28))).parse(line).request_key


@pytest.mark.parametrize(("record", "hashed"), IDS)
def test_ids_of_version_1_are_found(record: dict[str, Any], hashed: str) -> None:
    key = key_of(record)
    records = ResultRecords(ModelIdentity("m", b"weights", lambda _: b""))
    assert records.id_of("a", key.version_1(key.max_tokens), ID_PREFIX_1) == ID_PREFIX_1 + hashed


def test_the_token_limit_is_part_of_a_failure_only() -> None:
    short, long = key_of(PROMPT | {"max_tokens": 5}), key_of(PROMPT | {"max_tokens": 50})
    assert short.answer == long.answer
    assert short.failure != long.failure
    assert long.version_1(5) == short.version_1(5) != short.version_1(50)
    assert len({short.answer, short.failure, key_of({"id": "a", "prompt": "Ho"}).answer}) == 3


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"n": 3}, {"stop": []}, {"temperature": 1}, {"date": "2026-02-01"}, {"top_logprobs": 3}],
)
def test_everything_else_is_part_of_an_answer(change: dict[str, Any]) -> None:
    assert key_of({**EVERYTHING, **change}).answer != key_of(EVERYTHING).answer


@dataclass(frozen=True)
class _Later(Sampling):
    """Sampling as a later version might have it."""

    warmth: float = 0.0


def test_a_field_of_a_later_version_counts_only_if_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    _Later.__name__ = "Sampling"
    key = key_of(EVERYTHING)
    conversation, stops, sampling, *rest = key.contents

    def later(**used: Any) -> RequestKey:
        fields: dict[str, Any] = {name: getattr(sampling, name) for name in Sampling.__dataclass_fields__}
        return replace(key, contents=(conversation, stops, _Later(**fields, **used), *rest))

    assert later().answer == key.answer
    assert later().version_1(9) == key.version_1(9)
    assert later(warmth=1).answer != key.answer
    assert later(warmth=1).version_1(9) == b""


def test_an_invalid_line_is_its_content() -> None:
    key = RequestKey(raw=b"nonsense")
    assert key.answer == key.failure == key.version_1(None) == b"nonsense"
