"""Batch files of other services run unchanged."""

import json
from pathlib import Path

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.lines import Line
from tests.support.command import Result, by_id, ossctl

FILES = sorted((Path(__file__).parents[1] / "services").glob("*.jsonl"))
CHATS = [path for path in FILES if path.stem != "vllm-completions"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_line_of_a_services_file_is_refused(path: Path) -> None:
    parser = LineParser(Defaults())
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        parser.parse(Line(number, line))


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("services")
    lines = b"".join(path.read_bytes() for path in CHATS)
    return ossctl("batch", "-", "-m", "nano", "-n", "100", cwd=folder, stdin=lines)


def test_every_line_of_the_chat_files_is_answered(chats: Result) -> None:
    assert [record["error"] for record in chats.records] == [None] * len(chats.records)
    assert len(chats.records) == sum(len(path.read_bytes().splitlines()) for path in CHATS)
    for record in chats.records:
        ChatCompletion.model_validate(record["response"]["body"])


def test_metadata_comes_back_and_schemas_hold(chats: Result) -> None:
    bodies = {name: record["response"]["body"] for name, record in by_id(chats.records).items()}
    assert bodies["openai-2"]["metadata"] == {"doc": "7"}
    assert "metadata" not in bodies["openai-1"]
    for name in ("openai-3", "task-1", "vllm-3", "vllm-4", "together-3", "together-4"):
        person = json.loads(bodies[name]["choices"][0]["message"]["content"])
        assert sorted(person) == ["age", "name"]
    assert bodies["openai-5"]["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


def test_texts_are_continued_without_a_chat_format(tmp_path: Path) -> None:
    (path,) = set(FILES) - set(CHATS)
    result = ossctl("batch", path, "-m", "nano", cwd=tmp_path)
    first, second = (by_id(result.records)[name]["response"]["body"] for name in ("text-1", "text-2"))
    for body in (first, second):
        Completion.model_validate(body)
        assert body["object"] == "text_completion"
    choice = first["choices"][0]
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]
    assert choice["logprobs"]["text_offset"][:2] == [0, len(choice["logprobs"]["tokens"][0])]
    assert len(choice["logprobs"]["top_logprobs"][0]) >= 2
    assert [choice["index"] for choice in second["choices"]] == [0, 1]
    raw = ossctl("run", "-m", "nano", "--raw", "-t", "0", "-n", "8", "Snow is", cwd=tmp_path)
    assert raw.stdout.strip() == choice["text"].strip()
