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

from devices.finding import Finding, Verdict
from devices.task import CHECKS, Task

_COMPLAINT = re.compile(r"^\S+:\d+: |error|failed|cannot", re.IGNORECASE)


@dataclass(frozen=True)
class Outcome:
    """The findings of a task, one for each of its checks, and how long it ran, in seconds."""

    findings: tuple[Finding, ...]
    seconds: float


def run(task: Task, environment: Mapping[str, str], limit: float) -> Outcome:
    """Run `task` for at most `limit` seconds. Checks that it did not come to have failed."""
    started = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "findings.jsonl"
        path.touch()
        why = _run(task, path, environment, limit)
        found = [Finding.from_record(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    done = {finding.check for finding in found}
    missing = (Finding(check, Verdict.FAILED, why) for check in CHECKS[task.kind] if check not in done)
    return Outcome((*found, *missing), perf_counter() - started)


def _run(task: Task, path: Path, environment: Mapping[str, str], limit: float) -> str:
    """How the process ended."""
    command = [sys.executable, "-m", "devices.child", json.dumps(asdict(task)), str(path)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"no end within {limit:.0f} s"
        finally:
            with suppress(ProcessLookupError):  # what it has started as well
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return f"{_ended(code)}{_complaint(said.read())}"


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
