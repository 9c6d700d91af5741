"""Prompts from arguments, files and pipes."""

import io
from pathlib import Path

import pytest

from ossctl.app.compare.prompts import prompt_of, read_prompts
from ossctl.app.compare.results import Prompt
from ossctl.app.inference.defaults import Defaults

JSONL = """{"id": "a", "prompt": "One?", "max_tokens": 3}

{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Two?"}]}
"""
TEXT = "One?\n\nTwo?\n"


def prompts(*words: str, file: Path | None = None) -> list[Prompt]:
    return [*map(prompt_of, read_prompts(words, file).tasks(Defaults()))]


def read(found: list[Prompt]) -> list[tuple[str, int, str]]:
    return [(each.id, len(each.messages), each.text) for each in found]


@pytest.mark.parametrize(
    ("name", "contents", "ids"),
    [
        ("in.jsonl", JSONL, ["a", "3"]),
        ("in.txt", TEXT, ["1", "3"]),
        ("in.csv", "id,prompt,other\na,One?,x\nb,Two?,y\n", ["a", "b"]),
    ],
)
def test_prompts_come_from_files_by_their_suffix(
    tmp_path: Path, name: str, contents: str, ids: list[str]
) -> None:
    (tmp_path / name).write_text(contents, "utf-8")
    found = prompts(file=tmp_path / name)
    assert [each.id for each in found] == ids
    assert [each.text for each in found] == ["One?", "Two?"]


@pytest.mark.parametrize(("contents", "ids"), [(JSONL, ["a", "3"]), (TEXT, ["1", "2"])])
def test_a_pipe_has_requests_or_a_prompt_a_line(
    monkeypatch: pytest.MonkeyPatch, contents: str, ids: list[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(contents.encode())))
    found = prompts("-")
    assert [each.id for each in found] == ids
    assert [each.text for each in found] == ["One?", "Two?"]


def test_arguments_are_numbered() -> None:
    assert read(prompts("One?", " ", "Two?")) == [("1", 1, "One?"), ("2", 1, "Two?")]
