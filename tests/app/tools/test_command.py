"""Programs that run tool calls: arguments and results, time and output limits, environment."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from ossctl.app.tools.command import ToolCommand
from ossctl.app.tools.source import MAX_RESULT_BYTES, ToolOutcome
from ossctl.dialect import ToolCall


def run(program: str, arguments: str = "{}", seconds: float = 20.0) -> ToolOutcome:
    command = ToolCommand((sys.executable, "-c", program), seconds)
    return command.run(ToolCall("tool", arguments), lambda: True)


def error_of(outcome: ToolOutcome) -> str:
    assert not outcome.ok
    return str(json.loads(outcome.result)["error"])


def test_a_program_gets_the_arguments_and_returns_the_result() -> None:
    outcome = run("import sys, json; print(json.load(sys.stdin)['city'].upper())", '{"city": "Oslo"}')
    assert outcome.ok
    assert outcome.result == "OSLO"


def test_arguments_longer_than_a_pipe_holds_reach_a_program_that_does_not_read_them() -> None:
    assert run("print('done')", json.dumps({"text": "x" * 1_000_000})).result == "done"


def test_arguments_that_are_not_json_are_reported_to_the_model_and_nothing_runs(tmp_path: Path) -> None:
    for arguments in ('{"city": ', '"\\ud800"', "[" * 100_000):
        outcome = run(f"open({str(tmp_path / 'ran')!r}, 'w')", arguments)
        assert "not valid JSON" in error_of(outcome)
    assert not (tmp_path / "ran").exists()


def test_a_failing_program_is_reported_with_its_exit_code_and_stderr() -> None:
    assert error_of(run("import sys; sys.exit('no such city')")) == "exit code 1: no such city"
    assert error_of(run("raise SystemExit(3)")) == "exit code 3"


def test_a_program_that_does_not_exist_is_an_error_for_the_model() -> None:
    outcome = ToolCommand(("no-such-program-here",), 5.0).run(ToolCall("tool", "{}"), lambda: True)
    assert "no-such-program-here cannot be run" in error_of(outcome)


def test_a_program_that_hangs_is_stopped() -> None:
    started = time.monotonic()
    assert "more than 0.5 s" in error_of(run("import time; time.sleep(60)", seconds=0.5))
    assert time.monotonic() - started < 10


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_children_of_a_hanging_program_are_killed_with_it(tmp_path: Path) -> None:
    child = tmp_path / "child"
    program = (
        "import subprocess, sys, time, pathlib;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"pathlib.Path({str(child)!r}).write_text(str(p.pid)); time.sleep(60)"
    )
    run(program, seconds=3.0)
    deadline = time.monotonic() + 5
    while _alive(int(child.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(int(child.read_text()))


def test_endless_output_is_truncated_and_the_program_killed() -> None:
    started = time.monotonic()
    outcome = run("while True: print('x' * 1000)", seconds=60.0)
    assert outcome.result.startswith("xxx")
    assert "truncated after 65,536 bytes" in outcome.result
    assert len(outcome.result) < MAX_RESULT_BYTES + 100
    assert time.monotonic() - started < 20


def test_an_interrupt_kills_the_program_at_once() -> None:
    started = time.monotonic()
    command = ToolCommand((sys.executable, "-c", "import time; time.sleep(60)"), 60.0)
    outcome = command.run(ToolCall("tool", "{}"), lambda: time.monotonic() - started < 0.3)
    assert time.monotonic() - started < 10
    assert error_of(outcome) == "the user stopped this call"


def test_a_program_whose_call_was_stopped_before_does_not_start(tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'ran')!r}, 'w')"
    outcome = ToolCommand((sys.executable, "-c", program), 20.0).run(ToolCall("tool", "{}"), lambda: False)
    assert error_of(outcome) == "the user stopped this call"
    assert not (tmp_path / "ran").exists()


def test_a_program_does_not_see_secrets_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    seen = json.loads(run("import os, json; print(json.dumps(dict(os.environ)))").result)
    assert "HF_TOKEN" not in seen
    assert seen["PATH"] == os.environ["PATH"]


def _alive(pid: int) -> bool:
    """Whether the process is running; a zombie is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
