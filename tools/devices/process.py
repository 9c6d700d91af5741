"""Tasks in processes of their own, with a time limit."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from tools.devices.finding import Finding, Verdict
from tools.devices.task import CHECKS, Task

_COMPLAINT = re.compile(r"^\S+:\d+: |error|failed|cannot", re.IGNORECASE)


@dataclass(frozen=True)
class Limit:
    """Seconds until a task is stopped: its own, or those `of_all` tasks together, which is no fault of it."""

    seconds: float
    of_all: bool = False


@dataclass(frozen=True)
class Outcome:
    """The findings of a task, one for each of its checks, and how long it ran, in seconds."""

    findings: tuple[Finding, ...]
    seconds: float


def run(task: Task, environment: Mapping[str, str], limit: Limit) -> Outcome:
    """Run `task` within `limit`. Checks that it did not come to have failed, or are left out."""
    started = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "findings.jsonl"
        path.touch()
        verdict, why = _run(task, path, environment, limit)
        found = [Finding.from_record(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    done = {finding.check for finding in found}
    missing = (Finding(check, verdict, why) for check in CHECKS[task.kind] if check not in done)
    return Outcome((*found, *missing), perf_counter() - started)


def _run(task: Task, path: Path, environment: Mapping[str, str], limit: Limit) -> tuple[Verdict, str]:
    """How the process ended, and what that means for checks without a finding."""
    command = [sys.executable, "-m", "tools.devices.child", json.dumps(asdict(task)), str(path)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(limit.seconds)
        except subprocess.TimeoutExpired:
            if limit.of_all:
                return Verdict.LEFT_OUT, f"the time ended after {limit.seconds:.0f} s of it"
            return Verdict.FAILED, f"no end within {limit.seconds:.0f} s"
        finally:
            with suppress(ProcessLookupError, PermissionError):  # what it has started as well
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return Verdict.FAILED, f"{_ended(code)}{_complaint(said.read())}"


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _complaint(text: str) -> str:
    """The line that says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    best = [line for line in lines if _COMPLAINT.search(line)] or lines
    return f": {best[-1][:200]}" if best else ""
