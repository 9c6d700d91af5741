"""The sandbox of Inspect's tasks where Docker is not."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.util import SandboxEnvironment

from ossctl.app.eval.inspect import sandbox, tasks
from ossctl.app.eval.inspect.sandbox import BubblewrapSandbox
from ossctl.app.eval.tasks import NAMED, TaskOptions, TaskSpec
from ossctl.errors import UsageError

needs_bubblewrap = pytest.mark.skipif(bool(sandbox.problem()), reason="bubblewrap does not work here")

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Inspect's streams


@pytest.fixture
def inside() -> Iterator[SandboxEnvironment]:
    made = asyncio.run(BubblewrapSandbox.sample_init("task", None, {}))
    yield made["default"]
    asyncio.run(BubblewrapSandbox.sample_cleanup("task", None, made, interrupted=False))
    assert not made["default"].as_type(BubblewrapSandbox).folder.exists()


def run(inside: SandboxEnvironment, *cmd: str, **given: Any) -> tuple[bool, str, str]:
    done = asyncio.run(inside.exec(list(cmd), **given))
    return done.success, done.stdout, done.stderr


@needs_bubblewrap
def test_programs_run_with_their_input_and_files(inside: SandboxEnvironment) -> None:
    assert run(inside, "python", "-c", "print(input() * 2)", input="ab") == (True, "abab\n", "")
    asyncio.run(inside.write_file("sub/program.py", "import os; print(os.environ['X'])"))
    assert run(inside, "python3", "program.py", cwd="sub", env={"X": "y"}) == (True, "y\n", "")
    assert run(inside, "python", "-c", "open('out', 'w').write('z')")[0]
    assert asyncio.run(inside.read_file("/tmp/out")) == "z"
    failed = run(inside, "python", "-c", "assert 1 == 2")
    assert not failed[0]
    assert "AssertionError" in failed[2]


@needs_bubblewrap
def test_programs_see_neither_the_users_files_nor_a_network(
    inside: SandboxEnvironment, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("x")
    assert not run(inside, "cat", str(tmp_path / "secret"))[0]
    assert not run(inside, "python", "-c", "open('/usr/x', 'w')")[0]
    connect = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    assert not run(inside, "python", "-c", connect)[0]
    with pytest.raises(PermissionError):
        asyncio.run(inside.read_file("../../etc/passwd"))
    with pytest.raises(PermissionError):
        asyncio.run(inside.write_file("/etc/passwd", ""))


@needs_bubblewrap
def test_time_and_memory_are_limited(inside: SandboxEnvironment) -> None:
    with pytest.raises(TimeoutError):
        run(inside, "sleep", "30", timeout=1)
    assert not run(inside, "python", "-c", "x = bytearray(4 << 30)")[0]


def test_without_a_sandbox_nothing_of_the_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_docker_problem", lambda: "Docker is not installed")
    monkeypatch.setattr(sandbox, "problem", lambda: "bubblewrap is not installed")
    humaneval = next(each for each in NAMED if each.name == "humaneval")
    with pytest.raises(UsageError, match="Docker is not installed, and bubblewrap is not installed") as error:
        tasks.load_task(TaskSpec("humaneval", humaneval), TaskOptions())
    assert "-T sandbox=local" in error.value.hint
