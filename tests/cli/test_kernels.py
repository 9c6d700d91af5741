"""Kernels that crash or compute nonsense, simulated on any CPU: detected, reported and avoided."""

import json
import os
import signal
import termios
from pathlib import Path

import pytest

from tests.support.command import by_id, content_of, ossctl, write_jsonl
from tests.support.faulty_kernels import build_faulty_kernels, needs_compiler
from tests.support.llama_oracle import has_rpc
from tests.support.models import smollm2
from tests.support.rpc_servers import NOTHING, rpc_server
from tests.support.terminal import Terminal

pytestmark = needs_compiler

ASK = ("run", "-m", smollm2(), "-t", 0, "-n", 4, "--threads", 1, "Hello")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_faulty_kernels(tmp_path_factory.mktemp("faults"))


def forget(folder: Path) -> Path:
    """Delete the cached trial, so that the next program in `folder` runs one, and return its path."""
    record = folder / "home" / "state" / "kernels.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    return record


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        pytest.param(
            {"CRASH_GEMM": str(signal.SIGILL.value)}, "the process died with SIGILL", id="illegal instruction"
        ),
        pytest.param(
            {"CRASH_GEMM": str(signal.SIGSEGV.value)},
            "died with SIGSEGV",
            id="bad address",
            marks=pytest.mark.slow,
        ),
        pytest.param({"WRONG_GEMM": "1"}, "% of their range", id="wrong numbers"),
    ],
)
def test_kernels_that_fail_are_disabled_with_a_warning(
    tmp_path: Path, faults: str, fault: dict[str, str], named: str
) -> None:
    right = ossctl(*ASK, cwd=tmp_path)
    forgotten = forget(tmp_path)
    first = ossctl(*ASK, cwd=tmp_path, **{"LD_PRELOAD": faults, **fault})  # type: ignore[arg-type]
    assert (first.code, first.stdout) == (right.code, right.stdout)
    (line,) = set(first.said) - set(right.said)
    assert "llama.cpp's optimised CPU kernels failed a self-test: " in line
    assert named in line
    assert line.endswith("-m ossctl.build")
    (record,) = json.loads(forgotten.read_text()).values()
    assert list(record["problems"]) == ["cpu-extra"]
    again = ossctl(*ASK, cwd=tmp_path)  # right by now, but nobody asks again on the same day
    assert again.said == first.said
    plan = ossctl("plan", smollm2(), "--json", cwd=tmp_path)
    assert json.loads(plan.stdout)["plan"]["repack"] is False


def test_a_trial_is_cached(tmp_path: Path, faults: str) -> None:
    record = forget(tmp_path)
    assert ossctl(*ASK, cwd=tmp_path).code == 6
    written = record.stat().st_mtime_ns
    (found,) = json.loads(record.read_text()).values()
    assert found["problems"] == {}
    assert all(0 < seconds < 1e-5 for seconds in found["attention"].values())
    again = ossctl(*ASK, cwd=tmp_path, LD_PRELOAD=faults, CRASH_AT="1000")
    assert again.code == 6
    assert record.stat().st_mtime_ns == written
    records = json.loads(record.read_text())
    record.write_text(json.dumps({"another build": {**found, "problems": {"cpu-extra": "SIGILL"}}}))
    assert ossctl(*ASK, cwd=tmp_path).code == 6
    assert json.loads(record.read_text()).keys() == {"another build", *records}


def test_doctor_reports_the_failure_the_speed_and_the_command_that_rebuilds(
    tmp_path: Path, faults: str
) -> None:
    healthy = ossctl("doctor", "-m", smollm2(), cwd=tmp_path)
    (line,) = [line for line in healthy.stdout.splitlines() if " kernels " in line]
    assert line.startswith("✓ kernels")
    assert "tokens/s with them, " in line
    sick = ossctl("doctor", "-m", smollm2(), cwd=tmp_path, LD_PRELOAD=faults, CRASH_GEMM="4")
    assert sick.code == 1
    lines = sick.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("✗ kernels"))
    assert "SIGILL" in lines[at]
    assert "tokens/s without" in lines[at]
    assert lines[at + 1].strip().endswith("-m ossctl.build")
    assert "on the CPU" in lines[-1]


def test_a_build_for_another_processor_is_an_error(tmp_path: Path, faults: str) -> None:
    forget(tmp_path)
    result = ossctl(*ASK, cwd=tmp_path, LD_PRELOAD=faults, CRASH_AT="1", CRASH_SIGNAL="4")
    assert (result.code, result.stdout) == (1, "")
    first, second = result.said
    assert first == (
        "ossctl: this build of llama.cpp does not work on this machine: the process died with SIGILL"
    )
    assert second.startswith("It may be for another processor. To rebuild it, run ")


@pytest.mark.parametrize("number", [signal.SIGILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE])
def test_a_signal_in_native_code_is_reported(tmp_path: Path, faults: str, number: signal.Signals) -> None:
    result = ossctl(*ASK, cwd=tmp_path, LD_PRELOAD=faults, CRASH_AT="3", CRASH_SIGNAL=str(number.value))
    assert result.code == 1
    first, second = result.said
    assert first == f"ossctl: llama.cpp crashed: {number.name}. The answer is lost."
    assert second.startswith("`ossctl doctor` shows what works here; this rebuilds llama.cpp: ")
    report = Path(second.partition(" Details: ")[2])
    assert report.parent == tmp_path / "home" / "state"
    told = report.read_text()
    assert told.startswith(f"{number.name}\nllama-cpp-python ")
    assert " in decode" in told
    assert "Hello" not in told


def test_a_failed_assertion_is_reported_with_its_line(tmp_path: Path, faults: str) -> None:
    result = ossctl(*ASK, cwd=tmp_path, LD_PRELOAD=faults, ABORT_AT="3")
    assert result.code == 1
    assert result.said[0] == (
        "ossctl: llama.cpp crashed: test.c:7: GGML_ASSERT(0) failed. The answer is lost."
    )


def test_a_batch_that_crashes_keeps_finished_answers_and_says_how_to_resume(
    tmp_path: Path, faults: str
) -> None:
    requests = [{"id": str(n), "prompt": f"Say {n}.", "max_tokens": 2 + 8 * n} for n in range(4)]
    write_jsonl(tmp_path / "in.jsonl", *requests)
    batch = ("batch", "in.jsonl", "-o", "out.jsonl", "-m", smollm2(), "--ctx", 512, "--parallel", 4)
    died = ossctl(*batch, cwd=tmp_path, LD_PRELOAD=faults, CRASH_AT="12", CRASH_SIGNAL="11")
    assert died.code == 1
    assert died.said[-2] == (
        "ossctl: llama.cpp crashed: SIGSEGV. Finished results are in out.jsonl; use --resume to continue."
    )
    kept = (tmp_path / "out.jsonl").read_text().splitlines()
    assert 0 < len(kept) < 4
    assert ossctl(*batch, "--resume", cwd=tmp_path).code == 0
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all(content_of(record) for record in by_id(records).values())
    assert set(by_id(records)) == {"0", "1", "2", "3"}


def test_a_chat_that_crashes_has_saved_its_messages(tmp_path: Path, faults: str) -> None:
    chat = ("chat", "-m", smollm2(), "-t", 0, "-n", 60, "--threads", 1)
    died = ossctl(*chat, cwd=tmp_path, stdin=b"Hello\n", LD_PRELOAD=faults, CRASH_AT="10", CRASH_SIGNAL="11")
    assert died.code == 1
    assert "Your messages are saved: `ossctl chat -c` continues." in died.said[-2]
    assert "Hello" in ossctl("sessions", "list", cwd=tmp_path).stdout


@has_rpc
@pytest.mark.parametrize("tampering", ["", NOTHING], ids=["right", "wrong"])
def test_a_device_is_tested_before_it_is_used(tmp_path: Path, tampering: str) -> None:
    record_file, folder = forget(tmp_path), tmp_path / "site"
    folder.mkdir()
    with rpc_server(tampering) as address:
        register = f"from tests.support.rpc_servers import register\nregister([{address!r}])\n"
        (folder / "sitecustomize.py").write_text(register)
        path = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
        result = ossctl(*ASK[:-1], "--ctx", 256, "Hello", "-v", cwd=tmp_path, PYTHONPATH=path)
        chosen = ossctl("plan", smollm2(), "--device", "RPC0", cwd=tmp_path, PYTHONPATH=path)
    assert result.code == 6, result.stderr
    used = "RPC0: predicted" in result.stderr
    (record,) = json.loads(record_file.read_text()).values()
    if tampering:
        assert not used
        assert "of their range" in record["problems"]["RPC0"]
        assert chosen.said[0].startswith("ossctl: RPC0 is not used")
        assert any(
            line.startswith("RPC0 (") and "it failed a self-test: its logits" in line for line in result.said
        )
    else:
        assert used
        assert "compute are llama.cpp's own figures, asked for this plan." in chosen.stdout
        assert record["problems"] == {}


def test_an_incomplete_trial_is_not_cached(tmp_path: Path, faults: str) -> None:
    record = forget(tmp_path)
    planned = ossctl("plan", smollm2(), cwd=tmp_path)  # tests nothing, remembers nothing
    assert (planned.code, record.exists()) == (0, False)
    doctor = ossctl("doctor", cwd=tmp_path, LD_PRELOAD=faults, CRASH_GEMM=str(signal.SIGKILL.value))
    assert "kernels" in doctor.stdout
    assert not record.exists()
    assert ossctl(*ASK, cwd=tmp_path).code == 6
    assert record.exists()


def test_a_trial_counts_even_if_it_cannot_be_cached(tmp_path: Path, faults: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "state").write_text("a file")
    result = ossctl(*ASK, cwd=tmp_path, LD_PRELOAD=faults, CRASH_GEMM=str(signal.SIGILL.value))
    assert result.code == 6, result.stderr
    assert "failed a self-test: the process died with SIGILL" in result.stderr


def test_a_failed_target_is_tested_again_on_another_day(tmp_path: Path, faults: str) -> None:
    record = forget(tmp_path)
    ossctl(*ASK, cwd=tmp_path, LD_PRELOAD=faults, CRASH_GEMM="4")
    ((key, found),) = json.loads(record.read_text()).items()
    record.write_text(json.dumps({key: {**found, "tested": "2026-01-02"}}))
    assert "self-test" not in ossctl(*ASK, cwd=tmp_path).stderr
    assert json.loads(record.read_text())[key]["problems"] == {}


@pytest.mark.parametrize("command", [("plan", smollm2()), ("doctor",), ASK], ids=["plan", "doctor", "run"])
def test_a_build_that_crashes_while_loading_is_reported_by_every_command(
    tmp_path: Path, faults: str, command: tuple[object, ...]
) -> None:
    result = ossctl(*command, cwd=tmp_path, LD_PRELOAD=faults, CRASH_INIT=str(signal.SIGILL.value))
    assert result.code == 1
    first, second = result.said
    assert first.startswith("ossctl: llama.cpp crashed: SIGILL.")
    assert "this rebuilds llama.cpp: " in second


def test_a_terminal_is_usable_after_a_crash(tmp_path: Path, faults: str) -> None:
    chat = ("chat", "-m", smollm2(), "-t", 0, "-n", 60, "--threads", 1)
    crash = {"LD_PRELOAD": faults, "CRASH_AT": "12", "CRASH_SIGNAL": "11"}
    with Terminal(*chat, cwd=tmp_path, variables=crash) as terminal:
        before = termios.tcgetattr(terminal.process.child_fd)
        terminal.wait(r"\n>")
        raw = termios.tcgetattr(terminal.process.child_fd)
        assert not raw[3] & termios.ICANON
        terminal.enter("Tell me about cats.")
        terminal.wait("llama.cpp crashed: SIGSEGV. Your messages are saved")
        after = termios.tcgetattr(terminal.process.child_fd)
        for flags in range(4):
            assert after[flags] & before[flags] == before[flags]
        assert terminal.end() == 1
