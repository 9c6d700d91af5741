"""`ossctl batch` when lines, disks or pipes fail: finished results are kept and can be resumed."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossctl.app.wire.chat_completions import Shorthand
from tests.support.command import (
    Record,
    by_id,
    command,
    environment,
    line_of,
    ossctl,
    records_in,
    start,
    write_jsonl,
)

QUICK: Record = {"prompt": "Hi", "max_tokens": 3}
ENDS = ("257", "258", "264")  # the tokens that end an answer of the model of bytes
ENDLESS: Record = {"prompt": "Hi", "logit_bias": dict.fromkeys(ENDS, -100), "max_tokens": 16_000}
CIRCLE: Record = {"prompt": "Hi", "logit_bias": {"65": 100}, "max_tokens": 4000}  # AAAA…


@pytest.fixture
def model(byte_model_path: Path) -> tuple[object, ...]:
    """A model that answers at once."""
    return "-m", byte_model_path, "--ctx", 1024, "--parallel", 4, "--threads", 1


@pytest.fixture
def roomy(byte_model_path: Path) -> tuple[object, ...]:
    """The same with room for answers that take long."""
    return "-m", byte_model_path, "--ctx", 16384, "--parallel", 4, "--threads", 1


def test_every_kind_of_failure_has_its_own_code(tmp_path: Path, roomy: tuple[object, ...]) -> None:
    many = {"name": "many", "schema": {"type": "array", "items": {"type": "integer"}, "minItems": 999}}
    json_format = {"response_format": {"type": "json_schema", "json_schema": many}, "max_reasoning_tokens": 2}
    write_jsonl(
        tmp_path / "in.jsonl",
        {"id": "invalid_request", "prompt": "Hi", "top_p": 2},
        {"id": "context_length_exceeded", "prompt": "x" * 17_000},
        {"id": "schema_unsatisfied", **QUICK, **json_format, "max_tokens": 40},
        {"id": "repetition", **CIRCLE},
        {"id": "fine", **QUICK},
    )
    result = ossctl("batch", "in.jsonl", "--report", "r.json", *roomy, cwd=tmp_path)
    assert result.code == 3
    records = by_id(result.records)
    assert {name: record["error"] and record["error"]["code"] for name, record in records.items()} == {
        **{name: name for name in records if name != "fine"},
        "fine": None,
    }
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["errors"] == {name: 1 for name in sorted(records) if name != "fine"}


def test_an_answer_that_takes_too_long_fails_alone(tmp_path: Path, roomy: tuple[object, ...]) -> None:
    write_jsonl(tmp_path / "in.jsonl", {"id": "endless", **ENDLESS}, {"id": "quick", **QUICK})
    result = ossctl("batch", "in.jsonl", "--timeout", 2, *roomy, cwd=tmp_path)
    assert result.code == 3
    records = by_id(result.records)
    assert records["quick"]["error"] is None
    assert records["endless"]["error"]["code"] == "timeout"
    assert "line 1: no answer within 2 s; " in records["endless"]["error"]["message"]


@pytest.mark.parametrize(
    ("options", "failed", "message"),
    [
        (["--fail-fast"], 1, "stopped after 1 failed line; line 2: max_tokens is 0"),
        (["--max-errors", 2], 3, "stopped after 3 failed lines; line 6: max_tokens is 0"),
    ],
)
def test_too_many_failures_stop_the_batch(
    tmp_path: Path, model: tuple[object, ...], options: list[object], failed: int, message: str
) -> None:
    lines = [{**QUICK, "max_tokens": n % 2} for n in range(1, 30)]
    write_jsonl(tmp_path / "in.jsonl", *lines)
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", *model)
    result = ossctl(*arguments, *options, "--report", "r.json", cwd=tmp_path)
    assert result.code == 3
    assert result.said[0].startswith(f"ossctl: {message}")
    assert result.said[1].endswith("use --resume to continue.")
    records = records_in((tmp_path / "out.jsonl").read_text())
    assert sum(record["error"] is not None for record in records) == failed
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["complete"], report["failed"]) == (False, failed)
    assert (
        ossctl(*arguments, "--resume", cwd=tmp_path).said[0].startswith(f"{15 - report['done']} of 29 done")
    )


def test_the_report_has_counts_and_latencies(tmp_path: Path, model: tuple[object, ...]) -> None:
    write_jsonl(tmp_path / "in.jsonl", *[QUICK] * 3, {"prompt": 1})
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", "--report", "report.json", *model)
    ossctl(*arguments, cwd=tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["schema"] == "ossctl.batch-report/1"
    assert report["complete"] is True
    assert {name: report[name] for name in ("input", "output", "done", "failed", "skipped")} == {
        "input": "in.jsonl",
        "output": "out.jsonl",
        "done": 3,
        "failed": 1,
        "skipped": 0,
    }
    assert set(report["latency_seconds"]) == {"p50", "p90", "p99", "max"}
    assert 0 < report["first_token_seconds"]["p50"] <= report["latency_seconds"]["max"] <= report["seconds"]
    assert report["completion_tokens"] <= 9


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize(
    ("lines", "options", "code", "first"),
    [
        ([{"prompt": 1}, QUICK], ["--fail-fast"], 3, "ossctl: stopped after 1 failed line"),
        ([{"prompt": 1}, QUICK], [], 3, "1 of 2 done, 1 failed"),
        ([QUICK], ["-o", "/dev/full"], 1, "ossctl: cannot write /dev/full: No space"),
        ([QUICK], [], 1, "ossctl: cannot write report: No space left on device"),
        ([QUICK], [], 1, "1 of 1 done"),
    ],
    ids=["an error", "a failed line", "the same disk", "nothing", "the summary"],
)
def test_a_report_that_cannot_be_written_hides_nothing(
    tmp_path: Path,
    model: tuple[object, ...],
    lines: list[Record],
    options: list[object],
    code: int,
    first: str,
) -> None:
    write_jsonl(tmp_path / "in.jsonl", *lines)
    (tmp_path / "report").symlink_to("/dev/full")
    result = ossctl("batch", "in.jsonl", *model, *options, "--report", "report", cwd=tmp_path)
    assert result.code == code
    assert [line for line in result.said if line.startswith(first)], result.said
    assert "cannot write report: No space left on device" in result.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("suffix", "count"), [("", 50), pytest.param(".gz", 300, marks=pytest.mark.slow)])
def test_a_disk_that_fills_up_keeps_what_is_finished(
    tmp_path: Path, small_disk: Path, model: tuple[object, ...], suffix: str, count: int
) -> None:
    write_jsonl(tmp_path / "in.jsonl", *({**QUICK, "id": n, "max_tokens": 10} for n in range(count)))
    output = small_disk / f"out.jsonl{suffix}"
    arguments = ("batch", "in.jsonl", "-o", output, *model)
    result = ossctl(*arguments, cwd=tmp_path)
    assert result.code == 1
    assert result.said == [
        f"ossctl: cannot write {output}: No space left on device",
        "All lines written so far are complete; use --resume once the file can be written.",
    ]
    done = json.loads(ossctl("batch", "status", output, "--json", cwd=tmp_path).stdout)["done"]
    assert 0 < done < count
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    resumed = ossctl(*arguments, "--resume", cwd=tmp_path)
    assert resumed.code == 0
    assert resumed.said[0].startswith(f"{count - done} of {count} done, {done} skipped")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes no file that is open")
@pytest.mark.parametrize("replaced", [False, True])
def test_an_output_deleted_during_the_batch_is_rescued(
    tmp_path: Path, model: tuple[object, ...], replaced: bool
) -> None:
    output = tmp_path / "folder" / "out.jsonl"
    output.parent.mkdir()
    with start("batch", "-", "-o", output, *model, cwd=tmp_path) as batch:
        batch.send(*({**QUICK, "id": n} for n in range(3)))
        wait_for(lambda: output.exists() and output.read_bytes().count(b"\n") == 3)
        before = output.read_text()
        shutil.rmtree(output.parent)
        if replaced:
            output.parent.mkdir()
            output.write_text("somebody else's\n")
        time.sleep(1.1)  # it looks every second
        batch.send({**QUICK, "id": 3})
        result = batch.finish()
    assert result.code == 1
    rescued = tmp_path / "home" / "state" / "rescued" / "out.jsonl"
    assert result.said == [
        f"ossctl: {output} was deleted or replaced while the batch was running",
        f"Its contents were saved as {rescued}: move it back and continue with --resume.",
    ]
    assert rescued.read_text().startswith(before)
    assert sorted(by_id(records_in(rescued.read_text()))) == ["0", "1", "2", "3"]
    assert not replaced or output.read_text() == "somebody else's\n"


def wait_for(condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_input_that_grows_is_answered_up_to_its_old_end_and_the_rest_by_resume(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", *({**ENDLESS, "id": n, "max_tokens": 900} for n in range(6)))
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", *model)
    with start(*arguments, cwd=tmp_path) as batch:
        wait_for((tmp_path / "out.jsonl").exists)
        with source.open("ab") as file:
            file.write(line_of({**QUICK, "id": 6}) + b'{"id": 7, "prom')
        result = batch.finish()
    assert result.code == 0
    assert "in.jsonl has grown; use --resume to answer the new requests." in result.said
    assert any(line.startswith("6 of 6 done") for line in result.said)
    with source.open("ab") as file:
        file.write(b'pt": "Hi", "max_tokens": 2}\n')
    assert ossctl(*arguments, "--resume", cwd=tmp_path).said[0].startswith("2 of 8 done, 6 skipped")


def test_line_endings_byte_order_marks_and_zeros_can_be_mixed(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    lines = [line_of({**QUICK, "id": n}).strip() for n in range(3)]
    data = b"\xef\xbb\xbf" + lines[0] + b"\r\n" + lines[1] + b"\n\r\n\x00\n" + lines[2]
    (tmp_path / "in.jsonl").write_bytes(data)
    records = by_id(ossctl("batch", "in.jsonl", *model, cwd=tmp_path).records)
    assert sorted(records) == ["0", "1", "2", "line-4"]
    assert records["line-4"]["error"]["code"] == "invalid_request"


@pytest.mark.slow
def test_durable_syncs_every_line(tmp_path: Path, model: tuple[object, ...]) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is missing")
    write_jsonl(tmp_path / "in.jsonl", *[QUICK] * 5)
    counts = []
    for options in ([], ["--durable"]):
        arguments = ("batch", "in.jsonl", "-o", "out.jsonl", "--overwrite", *options, *model)
        trace = ["strace", "-f", "-e", "trace=fsync", "-o", "trace.txt", *command(*arguments)]
        done = subprocess.run(
            trace, cwd=tmp_path, env=environment(tmp_path), capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("strace may not trace here")
        counts.append((tmp_path / "trace.txt").read_text().count("fsync("))
    assert counts == [1, 6]


NAMES = [*Shorthand.__struct_fields__, "body", "method", "url", "role", "content"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
LINES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6).map(
    lambda fields: json.dumps({"prompt": "Hi", "max_tokens": 1, **fields}).encode()
) | st.binary(max_size=60)


def fuzzed(count: int, chance: random.Random) -> list[bytes]:
    """Lines made by rules, and good ones with bytes exchanged, left out and doubled. Each has an id."""
    made: list[bytes] = []

    @settings(max_examples=count // 2, database=None, suppress_health_check=[*HealthCheck])
    @given(LINES)
    def collect(line: bytes) -> None:
        made.append(line)

    collect()
    good = [
        line_of({**QUICK, "max_tokens": 1, "stop": ["x"], "seed": 5}),
        line_of({"custom_id": "a", "body": {"messages": [{"role": "user", "content": "Hé"}], "n": 2}}),
        line_of({"prompt": "Hi", "response_format": {"type": "json_object"}, "max_tokens": 2}),
    ]
    while len(made) < count:
        line = bytearray(chance.choice(good).strip())
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(line))
            match chance.randrange(3):
                case 0:
                    line[place] = chance.randrange(256)
                case 1:
                    del line[place]
                case _:
                    line.insert(place, line[place])
        made.append(bytes(line))
    return [line.replace(b"\n", b" ").replace(b"\r", b" ") or b"x" for line in made[:count]]


@pytest.mark.parametrize(
    "count", [400, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_fuzzed_lines_give_a_record_each(tmp_path: Path, model: tuple[object, ...], count: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    lines = [line for line in fuzzed(count, random.Random(seed)) if line.strip()]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", "-n", 2, "--assign-ids", *model)
    done = subprocess.run(
        command(*arguments), cwd=tmp_path, env=environment(tmp_path), capture_output=True, check=False
    )
    assert done.returncode in {0, 3}, done.stderr.decode()
    records = by_id(records_in((tmp_path / "out.jsonl").read_text("utf-8")))
    assert len(records) == len(lines)
    assert all((record["error"] is None) != (record["response"] is None) for record in records.values())
