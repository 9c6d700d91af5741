"""`python -m tools.devices` on RPC servers: rows with verdicts, and one that is wrong or dies fails."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.llama_oracle import has_rpc
from tests.support.rpc_servers import DEATH, NOTHING, rpc_server
from tools.devices.finding import Verdict
from tools.devices.options import Options, parse
from tools.devices.process import Limit, run
from tools.devices.session import check_devices
from tools.devices.task import CPU, Kind, Task

pytestmark = has_rpc

ROOT = Path(__file__).parents[1]


def devices(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, report and stdout."""
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "tools.devices", "--quick", "--report", str(report), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert report.exists(), done.stderr
    return done.returncode, json.loads(report.read_text("utf-8")), done.stdout


@pytest.mark.slow
def test_a_right_device_has_a_row_for_every_check(tmp_path: Path) -> None:
    small = ("--model", "tiny", "--batch", "2", "--ctx", "4096")
    code, report, shown = devices(tmp_path, "--rpc", "--device", "RPC0", *small)
    assert (code, report["schema"], report["ok"]) == (0, "ossctl.devices/1", True)
    rows = {(row["check"], row["device"]): row for row in report["rows"]}
    assert {row["verdict"] for row in rows.values()} == {"ok"}
    assert set(rows) == {
        ("doctor", ""),
        *((name, "RPC0") for name in ("memory", "speed", "answers", "batch")),
    }
    memory = rows["memory", "RPC0"]["figures"]
    assert memory["reported"]["RPC0"]["weights"] == pytest.approx(
        memory["planned"]["RPC0"]["weights"], rel=0.01
    )
    assert rows["answers", "RPC0"]["figures"]["same_tokens"] == 88
    assert rows["batch", "RPC0"]["figures"]["ossctl"] > 0
    assert report["devices"][0]["backend"] == "RPC"
    assert report["llama_cpp"]["commit"]
    assert "RPC0" in shown


@pytest.mark.parametrize(
    ("tampering", "said"),
    [(NOTHING, "RPC0 is not used"), (DEATH, "killed by SIGABRT")],
)
def test_a_device_that_is_wrong_or_dies_is_a_failed_row(
    tmp_path: Path, byte_model_path: Path, tampering: str, said: str
) -> None:
    with rpc_server(tampering) as address:
        model = ("--model", str(byte_model_path), "--check", "answers", "--device", "RPC0")
        code, report, _ = devices(tmp_path, "--rpc", address, *model)
    (row,) = report["rows"]
    assert (code, row["verdict"]) == (1, "failed")
    assert said in row["message"]


def quick(folder: Path, *arguments: str) -> Options:
    return parse(["--quick", "--report", str(folder / "report.json"), *arguments])


def test_what_the_budget_has_no_time_for_is_left_out_by_name(tmp_path: Path) -> None:
    report = check_devices(quick(tmp_path, "--budget", "0", "--model", "nano", "--batch", "1"))
    assert {row.verdict for row in report.rows} == {Verdict.LEFT_OUT}
    assert [row.check for row in report.rows] == ["doctor", "memory", "speed", "answers", "batch"]
    assert not report.ok


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"llama\.cpp sees no CUDA7, but CPU"):
        check_devices(quick(tmp_path, "--device", "CUDA7"))


@pytest.mark.parametrize(
    ("of_all", "verdict", "said"),
    [(False, Verdict.FAILED, "no end within"), (True, Verdict.LEFT_OUT, "the time ended")],
)
def test_a_check_that_does_not_end_is_stopped(
    byte_model_path: Path, of_all: bool, verdict: Verdict, said: str
) -> None:
    task = Task(Kind.LOAD, "bytes", str(byte_model_path), CPU)
    outcome = run(task, {**os.environ, "PYTHONPATH": str(ROOT)}, Limit(0.05, of_all))
    assert [(found.check, found.verdict) for found in outcome.findings] == [
        ("memory", verdict),
        ("speed", verdict),
    ]
    assert said in outcome.findings[0].message
