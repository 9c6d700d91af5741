"""`ossctl doctor --json`, as a user runs it."""

import json
import subprocess
import sys
from collections.abc import Iterator

from tools.devices.finding import Finding, judged
from tools.devices.task import Task

_OF_A_DEVICE = ("program", "build", "device", "self-test")  # not of its disk and its models


def run(_task: Task) -> Iterator[Finding]:
    """What the doctor would have fixed of build and devices fails."""
    command = [sys.executable, "-m", "ossctl", "doctor", "--json", "-m", "nano"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        sys.exit(f"ossctl doctor ended with {done.returncode}")
    checks = json.loads(done.stdout)["checks"]
    faults = [
        f"{check['name']}: {check['message']}"
        for check in checks
        if check["state"] == "fix" and check["name"] in _OF_A_DEVICE
    ]
    tests = [check["message"] for check in checks if check["name"] == "self-test"]
    yield judged("doctor", faults, "; ".join(tests), {"checks": checks})
