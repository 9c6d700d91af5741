"""What llama-server reports, what happens if it fails, and that it ends with us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ossctl.app.bench.estimate import mean_of
from ossctl.app.bench.llama_server import LlamaServer, pass_of
from ossctl.app.bench.options import BenchOptions
from ossctl.app.bench.passes import Work
from ossctl.app.bench.results import Wait
from ossctl.app.bench.rounds import Effort
from ossctl.app.bench.run import measure
from ossctl.app.bench.server_process import ServerFailed, find_server, serving
from ossctl.app.inference.interrupt import Interrupt
from tests.app.bench.test_llama_bench import ROW, SETTINGS
from tests.app.bench.test_run import CPU, ONCE, Watched

ONE_SECOND = Effort(1.0, 3)


class Remarked(Watched):
    """Remembers the remarks."""

    def __init__(self) -> None:
        super().__init__()
        self.remarked: list[str] = []

    def remarks(self, remarks: Sequence[str]) -> None:
        self.remarked += remarks


def timings(n_tokens: int, milliseconds: float, prompt: float = 50.0) -> dict[str, object]:
    return {"timings": {"prompt_ms": prompt, "predicted_n": n_tokens, "predicted_ms": milliseconds}}


def program(folder: Path, body: str) -> Path:
    file = folder / "llama-server"
    file.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    file.chmod(0o755)
    return file


def test_the_speeds_of_the_sequences_add_up() -> None:
    work = Work(2, 100, 8)
    found = pass_of([timings(9, 80.0), timings(9, 160.0, prompt=100.0)], work)
    assert found.generation.speed == pytest.approx(100 + 50)
    assert found.prefill.speed == pytest.approx(200 / 0.1)
    assert pass_of(timings(9, 80.0), replace(work, sequences=1)).generation.speed == pytest.approx(100)


@pytest.mark.parametrize(
    "answer",
    [None, 3, {}, [], "no", [timings(9, 80.0)], [timings(9, 80.0), timings(3, 80.0)], [timings(9, 0.0)] * 2,
     [timings(9, -1.0)] * 2, [timings(9, 80.0, prompt=0.0)] * 2, [{"timings": None}] * 2],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_refused(answer: object) -> None:
    with pytest.raises(ServerFailed, match="llama-server"):
        pass_of(answer, Work(2, 100, 8))


def test_a_server_that_does_not_start_is_one_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = program(tmp_path, "print('error: no such option', file=sys.stderr); sys.exit(3)")
    monkeypatch.setenv("LLAMA_SERVER", str(failing))
    watched, wait = Remarked(), Wait(what="cold", prompt_tokens=8, seconds=mean_of([1.0]))
    server = LlamaServer(Path("model.gguf"), watched, Interrupt())
    assert server.with_speeds(SETTINGS, [ROW], 100, ONE_SECOND) == [ROW]
    assert server.with_waits(SETTINGS, [wait], "text", 3) == [wait]
    assert watched.remarked == [
        "llama-server ended with code 3: error: no such option. The comparison with it is left out."
    ]


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerFailed, match=r"none cannot be started: No such file"),
        serving([str(tmp_path / "none")]),
    ):
        pass


def test_the_path_is_searched_after_what_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = program(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server(None) == str(found)
    assert find_server("other") == "other"


def test_a_signal_ends_a_server_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = program(
        tmp_path, f"import os, signal, time\nos.kill({os.getpid()}, signal.SIGINT)\ntime.sleep(60)"
    )
    monkeypatch.setenv("LLAMA_SERVER", str(hanging))
    watched = Remarked()
    with Interrupt() as interrupt:
        server = LlamaServer(Path("model.gguf"), watched, interrupt)
        assert server.with_speeds(SETTINGS, [ROW], 100, ONE_SECOND) == [ROW]
    assert interrupt.signum == signal.SIGINT
    assert watched.remarked == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_ends_when_we_are_killed(tmp_path: Path) -> None:
    notes = tmp_path / "pid"
    hanging = program(
        tmp_path, f"import os, time\nopen({str(notes)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    )
    starting = f"from ossctl.app.bench.server_process import serving\nwith serving([{str(hanging)!r}]): pass"
    with subprocess.Popen([sys.executable, "-c", starting]) as child:
        wait_until(lambda: notes.exists() and notes.read_text() != "")
        child.kill()
    pid = int(notes.read_text())
    wait_until(lambda: not is_running(pid))


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether it has not ended; a zombie has."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
def test_the_real_server_has_speeds_and_waits(
    byte_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_server(os.environ.get("LLAMA_SERVER")) is None:
        pytest.skip("llama-server is not installed")
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    watched = Remarked()
    report = measure(
        BenchOptions("bytes", byte_model_path, replace(CPU, ctx=2048), replace(ONCE, starts=2)), watched
    )
    assert [each for each in watched.remarked if "llama-server" in each] == []
    speeds = [row.generation.llama_server for row in report.batches]
    assert len(speeds) == 3
    assert all(speed is not None and speed.value > 0 for speed in speeds)
    waits = {wait.what: wait.llama_server for wait in report.waits}
    assert waits["startup"] is None
    assert waits["cold"] is not None
    assert waits["warm"] is not None
    assert waits["warm"].value < waits["cold"].value
