"""README.md says what the program does."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from generated import README
from models import smollm2
from programs import with_ossctl

from ossctl.app.chat_completions import read_task
from ossctl.app.conversation import Defaults
from ossctl.app.lines import Line, read_lines


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


@pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("jq") is None, reason="bash or jq is missing"
)
def test_the_chapter_on_scripts_runs_as_printed(tmp_path: Path) -> None:
    _, _, chapter = README.read_text(encoding="utf-8").partition("## In shell scripts\n")
    chapter, _, _ = chapter.partition("\n## ")
    blocks = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    assert len(blocks) == 4
    variables = {"OSSCTL_MODEL": str(smollm2()), "OSSCTL_TEMPERATURE": "0", "OSSCTL_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail\n" + "\n".join(blocks)],
        cwd=tmp_path,
        env=with_ossctl(tmp_path, **variables),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "answer.txt").read_text("utf-8").strip()
    lines = done.stdout.splitlines()
    assert "It is on Monday." in lines
    assert any(re.fullmatch(r"\d+ tokens, stop, seed \d+", line) for line in lines)
    assert any(line.endswith("… (cut)") for line in lines)
    assert {"a", "b"} == {json.loads(line)["id"] for line in lines if line.startswith('{"id"')}
