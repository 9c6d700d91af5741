"""`ossctl batch --rpc`: workers that are killed or frozen, and come back."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.command import Live, by_id, records_in, start, write_jsonl
from tests.support.llama_oracle import has_rpc
from tests.support.workers import worker

pytestmark = [has_rpc, pytest.mark.slow]

COUNT = 120


def batch_on(address: str, folder: Path) -> Live:
    lines = [{"custom_id": f"r{n}", "prompt": f"Count to {n}", "max_tokens": 60} for n in range(COUNT)]
    source = write_jsonl(folder / "in.jsonl", *lines)
    return start("batch", source, "-o", "out.jsonl", "-m", "nano", "--no-cache", "--rpc", address, cwd=folder)


def wait_for_records(output: Path, count: int) -> None:
    deadline = time.monotonic() + 40
    while not output.exists() or output.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_batch_continues_on_a_worker_that_is_back(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with worker(tmp_path / "worker") as first:
        first.line(), first.line()
        live = batch_on(first.address, tmp_path)
        wait_for_records(output, 5)
        os.kill(first.server(), signal.SIGKILL)
    with live, worker(tmp_path / "worker", first.address):
        done = live.finish()
    records = records_in(output.read_text())
    assert done.code == 0, done.stderr
    assert f"the engine died (worker {first.address} is gone); restarting." in done.stderr
    assert len(records) == len(by_id(records)) == COUNT
    assert not any(record["error"] for record in records)


def test_a_frozen_worker_is_left_until_it_answers_again(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with worker(tmp_path / "worker") as frozen:
        frozen.line(), frozen.line()
        with batch_on(frozen.address, tmp_path) as live:
            wait_for_records(output, 5)
            server = frozen.server()
            os.kill(server, signal.SIGSTOP)
            try:
                said = next_line_about("the engine died", live)
            finally:
                os.kill(server, signal.SIGCONT)
            done = live.finish()
    records = records_in(output.read_text())
    assert said == f"the engine died (worker {frozen.address} has stopped responding); restarting."
    assert done.code == 0, done.stderr
    assert len(records) == len(by_id(records)) == COUNT
    assert not any(record["error"] for record in records)


def next_line_about(text: str, live: Live) -> str:
    assert live.process.stderr is not None
    return next(line for raw in live.process.stderr if text in (line := raw.decode().rstrip()))
