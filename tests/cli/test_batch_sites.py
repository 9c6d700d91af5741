"""`ossctl batch` with engines in other processes, which are killed, frozen, or left without their driver."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.command import Live, by_id, ossctl, records_in, small_model, start, write_jsonl
from tests.support.crashing_engine import crashing_engine

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def requests_in(folder: Path, count: int) -> Path:
    lines = [{"custom_id": f"r{n}", "prompt": f"Count to {n}", "max_tokens": 12} for n in range(count)]
    return write_jsonl(folder / "in.jsonl", *lines)


def size_of(output: Path) -> int:
    return output.stat().st_size if output.exists() else 0


def engines_of(live: Live) -> list[psutil.Process]:
    """The engines of a running batch."""
    children = psutil.Process(live.process.pid).children()
    return [child for child in children if child.status() != "zombie" and "site" in child.cmdline()]


def wait_for_engine(live: Live, output: Path, n_records: int) -> psutil.Process:
    """An engine that answers, once the output has so many records."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        engines = engines_of(live)
        if engines and output.exists() and output.read_bytes().count(b"\n") >= n_records:
            return engines[0]
        time.sleep(0.02)
    raise TimeoutError


def has_ended(engine: psutil.Process) -> bool:
    """Whether an engine ends within two seconds; its parent may be one that never asks."""
    deadline = time.monotonic() + 2
    while engine.is_running() and engine.status() != "zombie" and time.monotonic() < deadline:
        time.sleep(0.02)
    return not engine.is_running() or engine.status() == "zombie"


def without_times(record: dict[str, object]) -> object:
    answer = json.loads(json.dumps(record))
    response = answer["response"]
    if response is not None:
        for name in ("id", "created"):
            response["body"].pop(name)
        response.pop("request_id")
    return answer


def test_records_are_those_of_an_engine_in_process(tmp_path: Path) -> None:
    lines = write_jsonl(
        tmp_path / "in.jsonl",
        *({"custom_id": f"r{n}", "prompt": f"Count to {n}", "max_tokens": 6} for n in range(4)),
        {"custom_id": "two", "prompt": "Name a colour", "max_tokens": 4, "n": 2, "logprobs": True},
        {"custom_id": "wrong", "nonsense": 1},
    )
    options = ("batch", lines, "--no-cache", "--deterministic", "--order", "input", *small_model())
    own = ossctl(*options, cwd=tmp_path)
    other = ossctl(*options, "--isolate", cwd=tmp_path)
    assert own.code == other.code == 3
    assert [*map(without_times, own.records)] == [*map(without_times, other.records)]


@pytest.mark.slow
def test_several_engines_divide_the_lines(tmp_path: Path) -> None:
    options = ("batch", requests_in(tmp_path, 40), "--engines", 2, "--report", "report.json")
    done = ossctl(*options, *small_model(), "--no-cache", cwd=tmp_path)
    assert done.code == 0
    assert len(by_id(done.records)) == 40
    sites = json.loads((tmp_path / "report.json").read_text())["sites"]
    assert [site["name"] for site in sites] == ["engine 1", "engine 2"]
    assert sum(site["lines"] for site in sites) == 40
    assert not any(site["deaths"] for site in sites)


def test_more_engines_than_none_are_wanted(tmp_path: Path) -> None:
    done = ossctl("batch", requests_in(tmp_path, 1), "--engines", "0", *small_model(), cwd=tmp_path)
    assert done.code == 2
    assert "--engines 0: expected a number from 1, or auto" in done.stderr


NANO = ("-m", "nano", "--threads", 1, "--ctx", 512, "--parallel", 8, "--no-cache")


def crashing_requests(folder: Path, count: int, **words: int) -> Path:
    """Requests, of which those at some positions have a word that ends the engine."""
    at = {position: word for word, position in words.items()}
    lines = [
        {"custom_id": f"r{n}", "prompt": f"What is {n} plus {at.get(n, 7)}?", "max_tokens": 20}
        for n in range(count)
    ]
    return write_jsonl(folder / "in.jsonl", *lines)


def test_a_line_that_ends_its_engine_is_an_error_record(tmp_path: Path) -> None:
    lines = crashing_requests(tmp_path, 1, ASSERT=0)
    done = ossctl(
        "batch", lines, *NANO, "--isolate", cwd=tmp_path, PYTHONPATH=crashing_engine(tmp_path / "site")
    )
    cause = "llama.cpp crashed: test.c:7: GGML_ASSERT(0) failed"
    message = f"the engine died with this request each time: {cause}"
    assert done.code == 3
    (record,) = done.records
    assert record["error"] == {"code": "engine_crashed", "message": f"line 1: {message}", "line": 1}
    assert done.said.count(f"the engine died ({cause}); restarting.") == 2
    assert done.said[-1] == f"1 failed: {message}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "cause"),
    [
        ("ASSERT", "llama.cpp crashed: test.c:7: GGML_ASSERT(0) failed"),
        ("FAULT", "llama.cpp crashed: SIGSEGV"),
        ("VANISH", "killed by SIGKILL"),
    ],
)
@pytest.mark.parametrize("engines", [1, 2])
def test_lines_beside_the_one_that_crashes_are_answered(
    tmp_path: Path, word: str, cause: str, engines: int
) -> None:
    lines = crashing_requests(tmp_path, 120, **{word: 17})
    place = ("--isolate",) if engines == 1 else ("--engines", engines)
    options = ("batch", lines, *NANO, *place, "--report", "report.json")
    done = ossctl(*options, cwd=tmp_path, PYTHONPATH=crashing_engine(tmp_path / "site"))
    assert done.code == 3, done.stderr
    records = by_id(done.records)
    assert len(records) == 120
    assert [name for name, record in records.items() if record["error"]] == ["r17"]
    error = records["r17"]["error"]
    assert error["code"] == "engine_crashed"
    assert error["message"] == f"line 18: the engine died with this request each time: {cause}"
    sites = json.loads((tmp_path / "report.json").read_text())["sites"]
    assert {death for site in sites for death in site["deaths"]} == {cause}
    assert f" died ({cause}); restarting." in done.stderr


@pytest.mark.slow
def test_lines_that_crash_for_several_reasons_are_told_apart(tmp_path: Path) -> None:
    lines = crashing_requests(tmp_path, 150, ASSERT=3, VANISH=40, FAULT=120)
    done = ossctl(
        "batch", lines, *NANO, "--isolate", cwd=tmp_path, PYTHONPATH=crashing_engine(tmp_path / "site")
    )
    assert done.code == 3, done.stderr
    records = by_id(done.records)
    assert len(records) == 150
    assert {name for name, record in records.items() if record["error"]} == {"r3", "r40", "r120"}


@pytest.mark.slow
def test_an_engine_that_only_dies_is_left_out_and_blames_no_line(tmp_path: Path) -> None:
    lines, broken = crashing_requests(tmp_path, 1200), crashing_engine(tmp_path / "site", one_works=True)
    options = ("batch", lines, *NANO, "--engines", 2, "--report", "report.json")
    done = ossctl(*options, cwd=tmp_path, PYTHONPATH=broken)
    assert done.code == 0, done.stderr
    assert len(by_id(done.records)) == 1200
    assert " is left out: it died 10 times without an answer: killed by SIGKILL" in done.stderr
    sites = json.loads((tmp_path / "report.json").read_text())["sites"]
    assert sorted((site["lines"], site["left_out"]) for site in sites) == [(0, True), (1200, False)]


@pytest.mark.slow
def test_every_line_is_answered_once_whatever_dies(tmp_path: Path) -> None:
    lines, output = requests_in(tmp_path, 500), tmp_path / "out.jsonl"
    randomly, kills = random.Random(1), 0
    with start("batch", lines, "-o", output, "--isolate", *small_model(), "--no-cache", cwd=tmp_path) as live:
        while live.process.poll() is None and kills < 20:
            n_bytes = size_of(output)
            time.sleep(randomly.uniform(0.5, 2))
            while size_of(output) == n_bytes and live.process.poll() is None:
                time.sleep(0.05)  # an engine that only dies is left out
            for engine in engines_of(live):
                engine.kill()
                kills += 1
        live.process.wait(240)
    records = by_id(records_in(output.read_text()))
    assert kills == 20
    assert len(records) == 500


@pytest.mark.slow
def test_status_shows_each_engine_until_the_batch_is_complete(tmp_path: Path) -> None:
    lines, output = crashing_requests(tmp_path, 600), tmp_path / "out.jsonl"
    options = ("batch", lines, "-o", output, *NANO, "--engines", 2)
    with start(*options, cwd=tmp_path) as live:
        wait_for_engine(live, output, 20).kill()
        time.sleep(2)
        running = json.loads(ossctl("batch", "status", output, "--json", cwd=tmp_path).stdout)
        live.process.send_signal(signal.SIGINT)
        live.finish()
    assert running["running"]
    assert [site["name"] for site in running["sites"]] == ["engine 1", "engine 2"]
    assert [death for site in running["sites"] for death in site["deaths"]] == ["killed by SIGKILL"]
    assert sum(site["lines"] for site in running["sites"]) > 0
    stopped = ossctl("batch", "status", output, cwd=tmp_path).stdout
    assert "not running" in stopped
    assert stopped.count(": killed by SIGKILL") == 1
    assert ossctl(*options, "--resume", cwd=tmp_path).code == 0
    assert "engine" not in ossctl("batch", "status", output, cwd=tmp_path).stdout
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.slow
def test_a_frozen_engine_is_replaced(tmp_path: Path) -> None:
    lines, output = requests_in(tmp_path, 40), tmp_path / "out.jsonl"
    with start("batch", lines, "-o", output, "--isolate", *small_model(), "--no-cache", cwd=tmp_path) as live:
        wait_for_engine(live, output, 5).suspend()
        done = live.finish()
    assert done.code == 0
    assert "it stopped responding" in done.stderr
    assert len(by_id(records_in(output.read_text()))) == 40


@pytest.mark.slow
def test_engines_end_with_a_killed_driver_and_its_work_is_resumed(tmp_path: Path) -> None:
    lines, output = requests_in(tmp_path, 60), tmp_path / "out.jsonl"
    options = ("batch", lines, "-o", output, "--isolate", *small_model(), "--no-cache")
    with start(*options, cwd=tmp_path) as live:
        engine = wait_for_engine(live, output, 5)
        os.kill(live.process.pid, signal.SIGKILL)
        assert has_ended(engine)
    done = ossctl(*options, "--resume", cwd=tmp_path)
    assert done.code == 0
    assert len(by_id(records_in(output.read_text()))) == 60


@pytest.mark.slow
def test_ctrl_c_ends_driver_and_engines(tmp_path: Path) -> None:
    lines, output = requests_in(tmp_path, 60), tmp_path / "out.jsonl"
    options = ("batch", lines, "-o", output, "--engines", 2, *small_model(), "--no-cache")
    with start(*options, cwd=tmp_path) as live:
        wait_for_engine(live, output, 5)
        engines = engines_of(live)
        live.process.send_signal(signal.SIGINT)
        assert live.process.wait(2) == 130
        assert all(map(has_ended, engines))


def test_an_option_replaces_a_configured_one_that_excludes_it(tmp_path: Path) -> None:
    """What only has a meaning with the replaced one is left out as well."""
    config = '[batch]\nhosts = "nowhere"\npull = true\nresume = true\nretry-failed = true\ndraft = 4\n'
    (tmp_path / "config.toml").write_text(config)
    batch = ("batch", requests_in(tmp_path, 3), "-o", tmp_path / "out.jsonl", *small_model())
    for options in (("--isolate",), ("--engines", 1, "--overwrite"), ("--isolate", "--deterministic")):
        result = ossctl(*batch, *options, cwd=tmp_path, OSSCTL_CONFIG=str(tmp_path / "config.toml"))
        assert result.code == 0, result.stderr
    assert "3 skipped" in result.said[-1]
