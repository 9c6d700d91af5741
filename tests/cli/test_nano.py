"""`-m nano`: a real model in Harmony, offline, in the first minute. It answers what it is known to answer."""

import json
from pathlib import Path

import pytest

from ossctl.app.library.resolve import NANO_FILE, has_nano
from tests.support.command import Record, by_id, choice_of, content_of, ossctl, write_jsonl

if not has_nano():
    pytest.skip("nano is not made yet: make nano", allow_module_level=True)

EXAMPLES = Path(__file__).parents[2] / "examples" / "nano.jsonl"
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "city": {"type": "string"}},
    "required": ["name", "age", "city"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The records of what `make demo` asks nano, at temperature 0."""
    folder = tmp_path_factory.mktemp("nano")
    requests = [{**json.loads(line), "temperature": 0} for line in EXAMPLES.read_text("utf-8").splitlines()]
    result = ossctl("batch", write_jsonl(folder / "in.jsonl", *requests), "-m", "nano", cwd=folder)
    assert result.code == 0
    assert result.said[0] == "nano is a test and demo model that knows almost nothing."
    return by_id(result.records)


def reasoning_of(record: Record) -> str:
    return str(choice_of(record)["message"].get("reasoning_content", ""))


def test_it_answers_at_three_efforts_and_thinks_longer_at_each(demo: dict[str, Record]) -> None:
    efforts = [demo[f"sum-{effort}"] for effort in ("low", "medium", "high")]
    assert all("85" in content_of(record) for record in efforts)
    low, medium, high = (len(reasoning_of(record)) for record in efforts)
    assert low == 0
    assert 0 < medium < high


def test_it_fills_a_schema(demo: dict[str, Record]) -> None:
    assert json.loads(content_of(demo["schema"])) == {"name": "Mara", "age": 36, "city": "Bergen"}


def test_it_calls_a_tool(demo: dict[str, Record]) -> None:
    choice = choice_of(demo["tool"])
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Turku"}


def test_it_says_that_it_does_not_know(demo: dict[str, Record]) -> None:
    assert content_of(demo["unknown"]) == "I am nano, a very small model, and I do not know that."


def test_every_result_names_it_for_what_it_is(demo: dict[str, Record]) -> None:
    names = {record["response"]["body"]["model"] for record in demo.values()}
    assert names == {"nano, a test and demo model"}


def test_all_of_it_is_harmony(demo: dict[str, Record]) -> None:
    assert not any("finish_details" in choice_of(record) for record in demo.values())


def test_it_is_a_few_megabytes() -> None:
    assert NANO_FILE.stat().st_size < 5_000_000
