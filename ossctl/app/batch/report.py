"""The report of `--report`."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ossctl.app.batch.job import BatchJob
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.user_text import encodable
from ossctl.errors import ExitCode, OssctlError
from ossctl.storage.atomic import atomic_write

SCHEMA = "ossctl.batch-report/1"
_COMPLETE = "complete"


@dataclass
class Report:
    """The batch for the report. `model` is empty until it is loaded."""

    model: str = ""
    summary: BatchSummary = field(default_factory=BatchSummary)

    def write(self, job: BatchJob, ending: str) -> None:
        """Write the report, if one is wanted. Raises OssctlError."""
        if job.sink.report is not None:
            encoded = msgspec.json.encode(self._document(job, ending))
            atomic_write(job.sink.report, msgspec.json.format(encoded) + b"\n")

    def _document(self, job: BatchJob, ending: str) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "complete": ending == _COMPLETE,
            "ending": ending,
            "model": self.model or None,
            "input": encodable(job.source.name),
            **({} if job.source.shard is None else {"shard": str(job.source.shard)}),
            "output": "standard output" if job.sink.path is None else encodable(str(job.sink.path)),
            "settings": job.parser.defaults.record(),
            **self.summary.report(),
        }


@contextlib.contextmanager
def report_at_end(job: BatchJob, say: Callable[[str], None]) -> Iterator[Report]:
    """Write the report, however the block ends.

    If it can't be written, that is reported with `say`, or it is the `report_error` of a summary that is
    otherwise a success.
    """
    report, ending = Report(), "broken off"
    own_result = True
    try:
        yield report
        ending, own_result = _COMPLETE, report.summary.exit_code != ExitCode.DONE
    except OssctlError as error:
        ending = error.message or ending
        raise
    finally:
        try:
            report.write(job, ending)
        except OssctlError as error:
            if own_result:
                say(f"{error.message}.")
            else:
                report.summary.report_error = error
