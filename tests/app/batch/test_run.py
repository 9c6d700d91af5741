"""What a batch leaves behind when it does not get far: its report, its status, an interrupted dry run."""

import gzip
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import ossctl.app.batch.run as batch_run
from ossctl.app.batch.dry_run import measure_speed
from ossctl.app.batch.job import BatchJob
from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.line_runner import Rules
from ossctl.app.batch.run import BatchModel, run_batch
from ossctl.app.batch.sink import Sink
from ossctl.app.batch.status import read_status
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadOptions
from ossctl.app.wire.source import Source
from ossctl.errors import Interrupted, MemoryShortage, UsageError
from ossctl.runtime.base import Chunk, Logits
from tests.support.models import smollm2
from tests.support.scripted import ScriptedRunner

LINES = b"".join(b'{"prompt": "%d"}\n' % number for number in range(50))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_report_is_written_if_loading_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_model(*_: object) -> None:
        raise MemoryShortage("too large for this machine")

    monkeypatch.setattr(batch_run, "load_model", load_model)
    monkeypatch.setattr(batch_run, "explain_crashes", lambda _: None)
    source, report = tmp_path / "in\udce9.jsonl", tmp_path / "report.json"  # a name that is not UTF-8
    source.write_bytes(LINES)
    sink = Sink(tmp_path / "out.jsonl", report=report)
    job = BatchJob(Source(source), sink, LineParser(Defaults()), Rules())
    with pytest.raises(MemoryShortage):
        run_batch(job, job.prepare(), BatchModel(smollm2(), LoadOptions()), print, print)
    written = json.loads(report.read_bytes())
    assert (written["complete"], written["ending"]) == (False, "too large for this machine")
    assert written["input"] == str(tmp_path / "in\ufffd.jsonl")
    assert (written["model"], written["done"], written["failed"]) == (None, 0, 0)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    "data",
    [gzip.compress(LINES)[:-9], gzip.compress(LINES)[:40] + b"#" * 40, b"no gzip"],
    ids=["cut off", "overwritten", "no gzip"],
)
def test_a_status_says_that_the_input_is_damaged(tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "in.jsonl.gz"
    source.write_bytes(data)
    (tmp_path / "out.jsonl").touch()
    with pytest.raises(UsageError, match=r"cannot read .*in\.jsonl\.gz"):
        read_status(tmp_path / "out.jsonl", Source(source))


class InterruptedRunner(ScriptedRunner):
    """Gets a SIGINT during one of its decodes, which can be aborted."""

    interrupted_decode: int | None = None

    def decode(self, chunks: Sequence[Chunk]) -> Logits:
        if len(self.decoded) == self.interrupted_decode:
            self.interrupted_decode = None
            signal.raise_signal(signal.SIGINT)
        return super().decode(chunks)

    def abort(self) -> None:
        self.abort_after = 1  # token


@pytest.mark.parametrize("number", [0, 5, 12, 20])
def test_measuring_the_speed_can_be_interrupted(number: int) -> None:
    runner = InterruptedRunner()
    runner.interrupted_decode = number
    with Interrupt() as interrupt, pytest.raises(Interrupted):
        measure_speed(runner, interrupt)
    assert len(runner.decoded) == number + 1
