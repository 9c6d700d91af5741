"""README.md says what the program does."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from readme_help import README, with_help

from ossctl.app.chat_completions import read_task
from ossctl.app.conversation import Defaults
from ossctl.app.lines import Line, read_lines


@pytest.mark.skipif(not version("typer").startswith("0.29."), reason="typer 0.29 lays out the help texts")
def test_the_help_texts_are_those_of_the_program() -> None:
    text = README.read_text(encoding="utf-8")
    assert "<!-- help: batch -->" in text
    assert with_help(text) == text, "run `make readme`"


def test_the_plan_of_the_readme_is_what_the_program_prints(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    found = re.search(r"\$ ossctl (plan .*)\n((?:.*\n)+?)…\n", text)
    assert found is not None
    done = subprocess.run(
        [sys.executable, "-m", "ossctl", *shlex.split(found[1])],
        env={**os.environ, "PYTHONUTF8": "1", "OSSCTL_HOME": str(tmp_path)},
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert done.stdout.startswith(found[2])


def test_every_json_line_of_the_readme_is_understood() -> None:
    text = README.read_text(encoding="utf-8")
    blocks = [block.partition("\n")[2] for block in text.split("```")[1::2] if block.startswith("jsonl")]
    lines = [line for block in blocks for line in block.strip().splitlines()]
    tasks = [read_task(Line(number, line.encode()), Defaults()) for number, line in enumerate(lines, 1)]
    assert [task.custom_id for task in tasks] == ["a", "b", "line-3", "d", "e", "f"]


def test_the_demo_has_twenty_requests_in_all_line_forms() -> None:
    path = Path(README.parent / "examples" / "prompts.jsonl")
    with path.open("rb") as file:
        tasks = [read_task(line, Defaults()) for line in read_lines(file)]
    assert len({task.custom_id for task in tasks}) == 20
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {"body", "prompt", "messages"} <= {key for record in records for key in record}
