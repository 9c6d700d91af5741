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

from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.chat_completions import read_task
from ossctl.app.wire.lines import Line, read_lines

needs_shell = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("jq") is None, reason="bash or jq is missing"
)


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
    blocks += re.findall(r"cat > \w+\.jsonl <<'END'\n(.*?)END\n", text, re.DOTALL)
    lines = [line for block in blocks for line in block.strip().splitlines()]
    tasks = [read_task(Line(number, line.encode()), Defaults()) for number, line in enumerate(lines, 1)]
    assert [task.custom_id for task in tasks] == ["d", "e", "f", "a", "b", "line-6"]


def test_the_demo_has_twenty_requests_in_all_line_forms() -> None:
    path = Path(README.parent / "examples" / "prompts.jsonl")
    with path.open("rb") as file:
        tasks = [read_task(line, Defaults()) for line in read_lines(file)]
    assert len({task.custom_id for task in tasks}) == 20
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {"body", "prompt", "messages"} <= {key for record in records for key in record}


@needs_shell
def test_the_chapter_on_batches_runs_as_printed(tmp_path: Path) -> None:
    done = run_chapter("## A first batch\n", 4, tmp_path)
    lines = done.stdout.splitlines()
    assert [line[0] for line in lines if re.match("[ab]  |line-3  ", line)].count("a") == 1
    (status,) = [line for line in lines if " of 24 done" in line]
    assert 0 < int(status.split()[0]) < 24
    assert "not running; --resume continues it" in lines
    assert "24" in lines  # different ids after the kill and the resume
    assert re.search(r"\d+ of 24 done, \d+ skipped", done.stderr)
    answers = (tmp_path / "many-answers.jsonl").read_text("utf-8").splitlines()
    assert sorted(int(json.loads(line)["custom_id"]) for line in answers) == list(range(1, 25))
    assert {line[:2] for line in lines if re.match("[12]: ", line)} == {"1:", "2:"}
    assert "requests  2: 2 to answer, 0 invalid" in lines


@needs_shell
def test_the_chapter_on_scripts_runs_as_printed(tmp_path: Path) -> None:
    done = run_chapter("## In shell scripts\n", 5, tmp_path)
    assert (tmp_path / "answer.txt").read_text("utf-8").strip()
    lines = done.stdout.splitlines()
    assert any(re.fullmatch("It is on [A-Z][a-z]+day.", line) for line in lines)
    assert "It is 12 degrees and rainy in Turku." in lines
    assert any(re.fullmatch(r"\d+ tokens, stop, seed \d+", line) for line in lines)
    assert any(line.endswith("… (cut)") for line in lines)
    assert {"a", "b"} == {json.loads(line)["id"] for line in lines if line.startswith('{"id"')}


def run_chapter(title: str, n_blocks: int, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a chapter's shell commands, one after the other."""
    _, _, chapter = README.read_text(encoding="utf-8").partition(title)
    chapter, _, _ = chapter.partition("\n## ")
    blocks = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    assert len(blocks) == n_blocks
    variables = {"OSSCTL_MODEL": str(smollm2()), "OSSCTL_TEMPERATURE": "0", "OSSCTL_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail\n" + "\n".join(blocks)],
        cwd=folder,
        env=with_ossctl(folder, **variables),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
