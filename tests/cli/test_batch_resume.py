"""`ossctl batch --resume`: however a batch ended, no finished result is lost or generated again."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ossctl.app.batch.held_records import held_path
from ossctl.storage.compression import open_decoded
from tests.support.command import (
    Record,
    by_id,
    launch,
    line_of,
    ossctl,
    records_in,
    start,
    write_jsonl,
)

QUICK: Record = {"prompt": "Say hi.", "max_tokens": 3}
ENDS = ("257", "258", "264")  # the tokens that end an answer of the model of bytes


@pytest.fixture
def model(byte_model_path: Path) -> tuple[object, ...]:
    """A model that answers at once: with it, starting takes most of a run's time."""
    return "-m", byte_model_path, "--ctx", 512, "--parallel", 4, "--threads", 1


def quick(n: int, **fields: object) -> list[Record]:
    return [{"id": f"r{number}", **QUICK, **fields} for number in range(n)]


def run_and_kill(*arguments: object, folder: Path, after: Callable[[], bool]) -> bool:
    """Run a batch and kill it, without any warning, when `after` says so; False if it ended before."""
    process = launch(arguments, folder, streams=(subprocess.DEVNULL,) * 3)
    while process.poll() is None:
        if after():
            process.kill()
            process.wait()
            return True
        time.sleep(0.002)
    return False


def whole_lines(path: Path) -> list[bytes]:
    """Every line but a torn one."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def n_lines(path: Path) -> int:
    return len(whole_lines(path))


@pytest.mark.parametrize("order", ["done", "input"])
@pytest.mark.parametrize(
    ("requests", "kills"),
    [(40, 2), pytest.param(500, 20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_after_repeated_kills_every_request_is_answered_once(
    tmp_path: Path, model: tuple[object, ...], requests: int, kills: int, order: str
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    lines = quick(requests, max_tokens=24)
    for line in lines[::9]:
        line.update(max_tokens=240, logit_bias=dict.fromkeys(ENDS, -100))  # those after it have to wait
    write_jsonl(tmp_path / "in.jsonl", *lines)
    output = tmp_path / "out.jsonl"
    arguments = ("batch", "in.jsonl", "-o", output, "--resume", "--order", order, *model)
    kept, finished = b"", set[bytes]()
    for number in range(kills):
        target = n_lines(output) + chance.randrange(2 * requests // kills)
        moment = time.monotonic() + chance.uniform(0.2, 3)
        late = number % 4 == 3  # at any moment, loading and repairing included

        def reached(target: int = target, moment: float = moment, late: bool = late) -> bool:
            return time.monotonic() > moment if late else n_lines(output) >= target

        if not run_and_kill(*arguments, folder=tmp_path, after=reached):
            break
        written = output.read_bytes() if output.exists() else b""
        assert written.startswith(kept), "what was finished has changed"
        kept = written[: written.rfind(b"\n") + 1]
        finished |= {*whole_lines(output), *whole_lines(held_path(output))}
    result = ossctl(*arguments, cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert output.read_bytes().startswith(kept)
    assert finished <= {*whole_lines(output)}, "an answer has an id of its own: it was computed again"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "home", tmp_path / "in.jsonl", output]
    records = records_in(output.read_text("utf-8"))
    assert all(record["error"] is None for record in records)
    names = [record["custom_id"] for record in records]
    expected = [f"r{number}" for number in range(requests)]
    assert (names if order == "input" else sorted(names)) == (
        expected if order == "input" else sorted(expected)
    )


def test_finished_records_stay_byte_for_byte(tmp_path: Path, model: tuple[object, ...]) -> None:
    write_jsonl(tmp_path / "in.jsonl", *quick(5))
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", "--resume", *model)
    assert ossctl(*arguments, cwd=tmp_path).code == 0  # there is nothing to go on with yet
    before = (tmp_path / "out.jsonl").read_bytes()
    result = ossctl(*arguments, cwd=tmp_path)
    assert result.code == 0
    assert result.said[0].startswith("0 of 5 done, 5 skipped · ")
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_changed_and_new_requests_are_answered_and_moved_ones_kept(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    requests = quick(6)
    write_jsonl(tmp_path / "in.jsonl", *requests)
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", *model)
    ossctl(*arguments, cwd=tmp_path)
    before = by_id(records_in((tmp_path / "out.jsonl").read_text("utf-8")))
    requests[2]["prompt"] = "Say bye."
    requests[4]["seed"] = 17
    write_jsonl(tmp_path / "in.jsonl", {"id": "new", **QUICK}, *reversed(requests))  # all on other lines
    result = ossctl(*arguments, "--resume", cwd=tmp_path)
    assert result.said[0].startswith("3 of 7 done, 4 skipped, 2 changed · ")
    after = by_id(records_in((tmp_path / "out.jsonl").read_text("utf-8")))
    assert sorted(after) == ["new", *sorted(before)]
    assert {name for name in before if after[name] != before[name]} == {"r2", "r4"}


def test_another_model_or_option_makes_another_request(
    tmp_path: Path, model: tuple[object, ...], byte_model_path: Path
) -> None:
    write_jsonl(tmp_path / "in.jsonl", *quick(2))
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", "--resume")
    ossctl(*arguments, *model, cwd=tmp_path)
    copy = tmp_path / "copy.gguf"
    shutil.copy(byte_model_path, copy)
    same = ossctl(*arguments, *model[2:], "-m", copy, cwd=tmp_path)
    assert "2 skipped" in same.said[0], "the same model elsewhere is the same model"
    warmer = ossctl(*arguments, *model, "-t", 0.5, cwd=tmp_path)
    assert warmer.said[0].startswith("2 of 2 done, 2 changed ·")
    with copy.open("r+b") as file:  # trained further, and otherwise the same
        file.seek(-400, os.SEEK_END)
        file.write(np.full(100, 0.25, np.float32).tobytes())
    other = ossctl(*arguments, *model[2:], "-m", copy, "-t", 0.5, cwd=tmp_path)
    assert other.said[0].startswith("2 of 2 done, 2 changed ·")
    assert len(by_id(records_in((tmp_path / "out.jsonl").read_text("utf-8")))) == 2


def test_failures_stay_until_they_are_retried_or_their_lines_corrected(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    wrong = [{"id": "zero", "prompt": "Hi", "max_tokens": 0}, {"id": "long", "prompt": "x" * 3000}]
    source = write_jsonl(tmp_path / "in.jsonl", *quick(2), *wrong)
    source.write_bytes(source.read_bytes() + b"nonsense\n")
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", "--resume")
    ossctl(*arguments, *model, cwd=tmp_path)
    before = (tmp_path / "out.jsonl").read_bytes()
    again = ossctl(*arguments, *model, cwd=tmp_path)
    assert again.code == 3
    assert again.said[1] == "3 failed in an earlier run: use --retry-failed to run them again."
    assert (tmp_path / "out.jsonl").read_bytes() == before
    larger = (*model[:3], 4096, *model[4:])
    retried = ossctl(*arguments, "--retry-failed", *larger, cwd=tmp_path)
    assert retried.said[0].startswith("1 of 5 done, 2 failed, 2 skipped")
    write_jsonl(source, *quick(2), {**QUICK, "id": "zero"}, wrong[1], {**QUICK, "id": "sense"})
    mended = ossctl(*arguments, *larger, cwd=tmp_path)
    assert mended.code == 0
    records = by_id(records_in((tmp_path / "out.jsonl").read_text("utf-8")))
    assert sorted(records) == ["long", "r0", "r1", "sense", "zero"]  # line-5 is nobody's any more
    assert not any(record["error"] for record in records.values())


def test_a_torn_end_is_reported_and_repaired_and_any_other_file_left_alone(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    write_jsonl(tmp_path / "in.jsonl", *quick(4))
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", "--resume", *model)
    ossctl(*arguments, cwd=tmp_path)
    output = tmp_path / "out.jsonl"
    *whole, last = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join(whole) + last[:100])
    assert "its end is cut off" in ossctl("batch", "status", output, cwd=tmp_path).stdout
    assert ossctl(*arguments, cwd=tmp_path).said[0].startswith("1 of 4 done, 3 skipped")
    assert output.read_bytes().startswith(b"".join(whole))
    output.write_bytes(b"precious")
    result = ossctl(*arguments, cwd=tmp_path)
    assert (result.code, output.read_bytes()) == (2, b"precious")
    assert "is not the output of a batch" in result.stderr


def test_a_second_batch_on_an_output_is_refused_until_the_first_is_dead(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", *quick(1))
    with start("batch", "-", "-o", "out.jsonl", *model, cwd=tmp_path) as first:
        first.send(QUICK)
        while n_lines(tmp_path / "out.jsonl") < 1:
            time.sleep(0.02)
        for option in ("--resume", "--overwrite"):
            result = ossctl("batch", source, "-o", "out.jsonl", option, *model, cwd=tmp_path)
            assert result.code == 2
            assert "is being written by another program" in result.stderr
        assert "running" in ossctl("batch", "status", "out.jsonl", cwd=tmp_path).stdout
        first.process.kill()
        first.process.wait()
    assert "not running" in ossctl("batch", "status", "out.jsonl", cwd=tmp_path).stdout
    assert ossctl("batch", source, "-o", "out.jsonl", "--resume", *model, cwd=tmp_path).code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_signal_in_input_order_keeps_records_that_wait_for_slower_ones(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    model = (*model[:3], 16384, *model[4:])
    slow = {"id": "slow", "prompt": "Hi", "max_tokens": 16000, "logit_bias": dict.fromkeys(ENDS, -100)}
    write_jsonl(tmp_path / "in.jsonl", slow, *quick(30))
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", "--order", "input", *model)
    with start(*arguments, cwd=tmp_path) as batch:
        while not (tmp_path / "out.jsonl").exists():
            time.sleep(0.01)
        time.sleep(2.5)  # enough for some of the quick ones, and not for the slow one
        batch.process.send_signal(signal.SIGINT)
        result = batch.finish()
    assert result.code == 130
    kept = records_in((tmp_path / "out.jsonl").read_text("utf-8"))
    assert result.said[-1] == f"{len(kept)} results are in out.jsonl; use --resume to continue."
    assert kept
    write_jsonl(tmp_path / "in.jsonl", {**slow, "max_tokens": 4}, *quick(30))
    assert ossctl(*arguments, "--resume", cwd=tmp_path).code == 0
    records = records_in((tmp_path / "out.jsonl").read_text("utf-8"))
    assert [record["custom_id"] for record in records] == ["slow", *(f"r{n}" for n in range(30))]
    assert all(record in records for record in kept)


def open_ended(n: int) -> list[Record]:
    """Requests of which every third ends at once and the others reach any limit."""
    bias = dict.fromkeys(ENDS, -100)
    return [
        {
            "id": f"r{number}",
            "prompt": "Hi",
            "logit_bias": {**bias, ENDS[0]: 100} if number % 3 == 0 else bias,
        }
        for number in range(n)
    ]


def test_another_token_limit_reruns_only_what_it_changes(tmp_path: Path, model: tuple[object, ...]) -> None:
    write_jsonl(tmp_path / "in.jsonl", *open_ended(9))
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", "--resume", *model)
    ossctl(*arguments, "-n", 4, cwd=tmp_path)
    before = (tmp_path / "out.jsonl").read_bytes()
    kept = ossctl(*arguments, "-n", 12, cwd=tmp_path)
    assert kept.said[0].startswith("0 of 9 done, 9 skipped · ")
    assert kept.said[1] == "6 were truncated in an earlier run: use --retry-cut to run them again."
    assert (kept.code, (tmp_path / "out.jsonl").read_bytes()) == (0, before)
    same = ossctl(*arguments, "--retry-cut", "-n", 4, cwd=tmp_path)
    assert (len(same.said), (tmp_path / "out.jsonl").read_bytes()) == (1, before), "cut there again"
    longer = ossctl(*arguments, "--retry-cut", "-n", 12, cwd=tmp_path)
    assert longer.said[0].startswith("6 of 9 done, 3 skipped · ")
    once = ossctl(*arguments, "--retry-cut", "-n", 12, cwd=tmp_path)
    assert once.said[0].startswith("0 of 9 done, 9 skipped · ")
    shorter = ossctl(*arguments, "-n", 4, cwd=tmp_path)
    assert shorter.said[0].startswith("6 of 9 done, 3 skipped, 6 changed · ")


@pytest.mark.parametrize("order", [pytest.param("done", marks=pytest.mark.slow), "input"])
def test_a_kill_while_cut_answers_are_retried_loses_none(
    tmp_path: Path, model: tuple[object, ...], order: str
) -> None:
    write_jsonl(tmp_path / "in.jsonl", *open_ended(24))
    output = tmp_path / "out.jsonl"
    arguments = ("batch", "in.jsonl", "-o", output, "--resume", "--order", order, *model)
    ossctl(*arguments, "-n", 4, cwd=tmp_path)
    before = whole_lines(output)
    if order == "input":  # as a kill leaves them
        held_path(output).write_bytes(b"\n".join([*before[9:], b""]))
        output.write_bytes(b"\n".join([*before[:9], b""]))
    retry = (*arguments, "--retry-cut", "-n", 300)
    written = n_lines(output) + n_lines(held_path(output))
    assert run_and_kill(
        *retry, folder=tmp_path, after=lambda: n_lines(output) + n_lines(held_path(output)) > written + 2
    )
    assert {*before} <= {*whole_lines(output), *whole_lines(held_path(output))}
    result = ossctl(*retry, cwd=tmp_path)
    assert result.code == 0, result.stderr
    records = records_in(output.read_text("utf-8"))
    names = [record["custom_id"] for record in records]
    expected = [f"r{number}" for number in range(24)]
    assert sorted(names) == sorted(expected)
    assert order == "done" or names == expected
    for record in records:
        ends_at_once = int(record["custom_id"][1:]) % 3 == 0
        n_tokens = record["response"]["body"]["usage"]["completion_tokens"]
        assert n_tokens == 1 if ends_at_once else n_tokens > 4


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
@pytest.mark.parametrize("order", ["input", "done"])
def test_a_kill_in_input_order_keeps_records_that_wait_for_slower_ones(
    tmp_path: Path, model: tuple[object, ...], name: str, order: str
) -> None:
    model = (*model[:3], 16384, *model[4:])
    slow = {"id": "slow", "prompt": "Hi", "max_tokens": 16000, "logit_bias": dict.fromkeys(ENDS, -100)}
    source = write_jsonl(tmp_path / "in.jsonl", slow, *quick(30))
    output = tmp_path / name
    arguments = ("batch", "in.jsonl", "-o", output, *model)
    assert run_and_kill(
        *arguments, "--order", "input", folder=tmp_path, after=lambda: n_lines(held_path(output)) >= 9
    )
    waiting = whole_lines(held_path(output))
    counted = json.loads(ossctl("batch", "status", output, "--json", cwd=tmp_path).stdout)
    assert counted["done"] == len(waiting)
    with held_path(output).open("ab") as file:
        file.write(waiting[0][:100])  # torn
    gone = json.loads(waiting[3])["custom_id"]
    kept = [request for request in quick(30) if request["id"] != gone]
    write_jsonl(source, {**slow, "max_tokens": 4}, *kept)
    result = ossctl(*arguments, "--resume", "--order", order, cwd=tmp_path)
    assert result.said[0].startswith(f"{31 - len(waiting)} of 30 done, {len(waiting) - 1} skipped · ")
    with open_decoded(output) as file:
        lines = file.read().splitlines()
    assert {*waiting} <= {*lines}
    names = [json.loads(line)["custom_id"] for line in lines]
    expected = ["slow", *(request["id"] for request in kept), gone]
    assert (names if order == "input" else sorted(names)) == (
        expected if order == "input" else sorted(expected)
    )
    assert not held_path(output).exists()


def test_a_compressed_output_is_resumed_after_a_kill(tmp_path: Path, model: tuple[object, ...]) -> None:
    write_jsonl(tmp_path / "in.jsonl", *quick(60, max_tokens=24))
    output = tmp_path / "out.jsonl.zst"
    arguments = ("batch", "in.jsonl", "-o", output, "--resume", *model)
    killed = run_and_kill(
        *arguments, folder=tmp_path, after=lambda: output.exists() and output.stat().st_size > 3000
    )
    assert killed
    counted = json.loads(ossctl("batch", "status", output, "--json", cwd=tmp_path).stdout)
    assert 0 < counted["done"] < 60
    result = ossctl(*arguments, cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert f", {counted['done']} skipped" in result.said[0]
    with open_decoded(output) as file:
        assert len(by_id(records_in(file.read().decode()))) == 60


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_finished_compressed_output_is_whole_after_a_resume_that_finds_nothing_to_do(
    tmp_path: Path, model: tuple[object, ...], suffix: str
) -> None:
    write_jsonl(tmp_path / "in.jsonl", *quick(3))
    output = tmp_path / f"out.jsonl{suffix}"
    arguments = ("batch", "in.jsonl", "-o", output, "--resume", *model)
    ossctl(*arguments, cwd=tmp_path)
    result = ossctl(*arguments, cwd=tmp_path)
    assert result.said[0].startswith("0 of 3 done, 3 skipped · ")
    with open_decoded(output) as file:  # fails without the end of the stream
        assert len(records_in(file.read().decode())) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_finished_compressed_output_survives_an_end_before_the_first_new_answer(
    tmp_path: Path, model: tuple[object, ...], signum: signal.Signals
) -> None:
    output = tmp_path / "out.jsonl.gz"
    arguments = ("batch", "-", "-o", output, "--resume", *model)
    lines = b"".join(map(line_of, quick(3)))
    ossctl(*arguments, cwd=tmp_path, stdin=lines)
    before = output.read_bytes()
    with start(*arguments, cwd=tmp_path) as batch:
        batch.send(*quick(3))  # which it skips
        time.sleep(2)
        batch.process.send_signal(signum)
        batch.process.wait(20)
    assert output.read_bytes() == before
    assert len(records_in(gzip.decompress(before).decode())) == 3


def test_a_pipeline_can_be_resumed(tmp_path: Path, model: tuple[object, ...]) -> None:
    lines = b"".join(map(line_of, quick(4)))
    arguments = ("batch", "-", "-o", "out.jsonl", "--resume", *model)
    ossctl(*arguments, cwd=tmp_path, stdin=lines[: lines.index(b"\n") + 1])
    result = ossctl(*arguments, cwd=tmp_path, stdin=lines)
    assert result.said[0].startswith("3 done, 1 skipped · ")


def test_deterministic_answers_depend_on_nothing_else_that_runs(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    rng = random.Random(seed := random.randrange(1 << 32))
    print(f"seed {seed}")
    text = "".join(rng.choice("abcdefgh ") for _ in range(120))
    never = dict.fromkeys(ENDS, -100)
    requests: list[Record] = [
        {"id": f"r{n}", "prompt": text[: rng.randrange(1, 120)], "seed": n, "temperature": n % 2}
        for n in range(14)
    ]
    for request in requests:
        request.update(logit_bias=never, max_tokens=rng.randrange(2, 30))
    write_jsonl(tmp_path / "a.jsonl", *requests)
    write_jsonl(tmp_path / "b.jsonl", *rng.sample(requests, 14))
    command = ("batch", "--deterministic", *model)
    assert ossctl(*command, "a.jsonl", "-o", "a-out.jsonl", cwd=tmp_path).code == 0
    output = tmp_path / "b-out.jsonl"
    resumed = (*command, "b.jsonl", "-o", output, "--resume", "--parallel", 8)
    assert run_and_kill(*resumed, folder=tmp_path, after=lambda: n_lines(output) >= 3)
    assert ossctl(*resumed, cwd=tmp_path).code == 0
    bodies = [
        {key: record["response"]["body"] for key, record in by_id(records_in(path.read_text())).items()}
        for path in (tmp_path / "a-out.jsonl", output)
    ]
    first, second = ({key: body["choices"] for key, body in each.items()} for each in bodies)
    assert first == second
    assert bodies[0]["r0"]["settings"]["deterministic"] is True


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--parallel", 6), "--deterministic needs --parallel 4 or a multiple of it, not 6"),
        (("--parallel", 4, "--ctx", 512, "--gpu-layers", 0), ""),
    ],
)
def test_what_deterministic_answers_need_is_checked(
    tmp_path: Path, byte_model_path: Path, options: tuple[object, ...], said: str
) -> None:
    write_jsonl(tmp_path / "in.jsonl", QUICK)
    result = ossctl(
        "batch", "in.jsonl", "-o", "o.jsonl", "--deterministic", "-m", byte_model_path, *options, cwd=tmp_path
    )
    assert (result.code, said in result.stderr) == (2 if said else 0, True)
