"""The process of one task: `python -m tools.devices.child TASK FINDINGS`, JSON and the file to append to."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ossctl.errors import MemoryShortage, OssctlError
from ossctl.runtime.crash import crash_reporter
from tools.devices.finding import Finding, Verdict
from tools.devices.task import CHECKS, Task

Check = Callable[[Task], Iterator[Finding]]


def main() -> None:
    crash_reporter().stand_aside()  # whoever started this wants to see the signal
    task = Task.from_record(json.loads(sys.argv[1]))
    run: Check = importlib.import_module(f"tools.devices.{task.kind}").run
    with Path(sys.argv[2]).open("a", encoding="utf-8") as file:
        for finding in _findings(run, task):
            file.write(json.dumps(finding.as_record()) + "\n")
            file.flush()


def _findings(run: Check, task: Task) -> Iterator[Finding]:
    """What `run` yields; an error that a user would see is a finding, too."""
    try:
        yield from run(task)
    except MemoryShortage as error:
        yield from (Finding(check, Verdict.LEFT_OUT, error.message) for check in CHECKS[task.kind])
    except OssctlError as error:
        yield from (Finding(check, Verdict.FAILED, error.message) for check in CHECKS[task.kind])


if __name__ == "__main__":
    main()
