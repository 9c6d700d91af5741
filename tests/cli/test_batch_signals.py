"""Signals and closed pipes: `ossctl batch` stops soon and keeps finished results."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import (
    Live,
    Record,
    Result,
    by_id,
    line_of,
    ossctl,
    records_in,
    small_model,
    start,
    write_jsonl,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

SOON = 2.0  # seconds from a signal to the end of the process, where computing or waiting has to be cut short

HI: Record = {"prompt": "Say hi.", "max_tokens": 4}
LONG: Record = {"prompt": "word " * 3500, "max_tokens": 4}
NO_END = {"2": -100}  # as a logit bias it keeps SmolLM2 from ending its answer


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Three requests that are answered at once, and others that take far longer than a test waits."""
    quick = [{**HI, "id": f"quick-{n}"} for n in range(3)]
    slow = [{"prompt": f"Tell me {n} stories.", "max_tokens": 400, "logit_bias": NO_END} for n in range(9)]
    return write_jsonl(tmp_path / "in.jsonl", *quick, *slow)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_complete_records_and_reports_where(
    tmp_path: Path, work: Path, signum: signal.Signals, code: int
) -> None:
    output = tmp_path / "out.jsonl"
    with start("batch", work, "-o", output, *small_model(), cwd=tmp_path) as batch:
        _wait_for_lines(output, 3)
        result = _signal(batch, signum)
    assert result.code == code
    assert result.stdout == ""
    assert result.said == ["ossctl: interrupted", f"3 results are in {output}; use --resume to continue."]
    assert sorted(by_id(records_in(output.read_text("utf-8")))) == ["quick-0", "quick-1", "quick-2"]


def test_a_signal_in_a_resumed_batch_counts_what_was_added(tmp_path: Path, work: Path) -> None:
    output = tmp_path / "out.jsonl"
    options = ("batch", work, "-o", output, *small_model())
    ossctl(*options, "--limit", 2, cwd=tmp_path)
    with start(*options, "--resume", cwd=tmp_path) as batch:
        _wait_for_lines(output, 3)
        result = _signal(batch, signal.SIGINT)
    assert result.said == [
        "ossctl: interrupted",
        f"1 more result is in {output}; use --resume to continue.",
    ]


def test_a_signal_leaves_complete_records_on_stdout(tmp_path: Path, work: Path) -> None:
    with start("batch", work, *small_model(), cwd=tmp_path) as batch:
        batch.next_record()
        result = _signal(batch, signal.SIGINT)
    assert result.code == 130
    kept = len(result.records) + 1
    assert result.said == [
        "ossctl: interrupted",
        f"{kept} {'result is' if kept == 1 else 'results are'} in standard output.",
    ]


def test_an_interrupt_stops_a_long_prefill(tmp_path: Path) -> None:
    with start("batch", "-", *small_model(ctx=4096, parallel=1), cwd=tmp_path) as batch:
        batch.ask(HI)
        batch.send(LONG)
        batch.end_input()
        time.sleep(0.5)
        result = _signal(batch, signal.SIGINT, within=SOON)
    assert result.code == 130
    assert result.records == []
    assert "1 result is in standard output." in result.stderr


def test_an_interrupt_while_the_model_loads_ends_the_batch_before_it_starts(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", HI)
    with start("batch", source, "-o", "out.jsonl", "-vv", *small_model(), cwd=tmp_path) as batch:
        assert batch.process.stderr is not None
        assert batch.process.stderr.readline().startswith(
            b"ossctl.llama: "
        )  # it waits for its log to be read
        batch.process.send_signal(signal.SIGINT)
        result = batch.finish()
    assert result.code == 130
    assert result.said[-2:] == ["ossctl: interrupted", "Nothing was started."]
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_batch_that_waits_for_stdin(
    tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    with start("batch", "-", *small_model(), cwd=tmp_path) as batch:
        batch.ask(HI)
        batch.process.send_signal(signum)
        assert batch.process.wait(SOON) == code


def test_a_signal_while_reading_leaves_no_traceback(tmp_path: Path) -> None:
    with start("batch", "-", *small_model(), cwd=tmp_path) as batch:
        batch.ask(HI)
        with subprocess.Popen(["cat", "/dev/zero"], stdout=batch.process.stdin):
            time.sleep(0.1)
            result = _signal(batch, signal.SIGINT)
    assert result.code == 130


def test_a_reader_that_closes_the_pipe_ends_the_batch_quietly(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", {**HI, "max_tokens": 1}, *[HI] * 11)
    with start("batch", source, *small_model(), cwd=tmp_path) as batch:
        batch.next_record()
        batch.close_output()
        assert batch.process.wait(10) == 0
        assert batch.process.stderr is not None
        assert batch.process.stderr.read() == b""


def test_a_reader_that_closes_the_pipe_ends_a_batch_that_waits_for_stdin(tmp_path: Path) -> None:
    with start("batch", "-", *small_model(), cwd=tmp_path) as batch:
        batch.ask(HI)
        batch.close_output()
        batch.write(line_of(HI))
        assert batch.process.wait(SOON) == 0


def _signal(batch: Live, signum: signal.Signals, within: float = 5.0) -> Result:
    """Send a signal to a batch that is at work and see that it ends soon."""
    assert batch.process.poll() is None
    sent = time.monotonic()
    batch.process.send_signal(signum)
    result = batch.finish()
    assert time.monotonic() - sent < within
    assert "Traceback" not in result.stderr
    return result


def _wait_for_lines(path: Path, n_lines: int) -> None:
    end = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < n_lines:
        assert time.monotonic() < end, "no answers"
        time.sleep(0.02)
