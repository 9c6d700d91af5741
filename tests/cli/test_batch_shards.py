"""`ossctl batch --shard I/N` and `ossctl batch join`: the jobs of an array, and one output of all theirs."""

import json
import re
import sys
import time
from pathlib import Path

import pytest

from ossctl.storage.compression import open_decoded
from tests.support.command import Record, line_of, ossctl, records_in, start, write_jsonl

_OF_A_RUN = re.compile(rb'"request_id":"req_[0-9a-f]+",|"id":"chatcmpl-[0-9a-f]+",|"created":[0-9]+,')


@pytest.fixture
def model(byte_model_path: Path) -> tuple[object, ...]:
    return "-m", byte_model_path, "--ctx", 512, "--parallel", 4, "--threads", 1


def requests(path: Path, count: int) -> Path:
    lines: list[Record] = [
        {"id": f"r{n}", "prompt": f"Say {n}. " * (n % 3 + 1), "max_tokens": 6} for n in range(count)
    ]
    lines[5] = {"prompt": "no id", "max_tokens": 5}
    lines[6] = {"id": "wrong", "prompt": 7}
    return write_jsonl(path, *lines)


def without_times(path: Path) -> bytes:
    """An output without its times and the random ids of its responses."""
    return _OF_A_RUN.sub(b"", path.read_bytes())


def run_shards(folder: Path, n: int, *options: object) -> list[str]:
    outputs = []
    for number in range(1, n + 1):
        outputs.append(f"out.{number}.jsonl")
        result = ossctl(
            "batch", "in.jsonl", "--shard", f"{number}/{n}", "-o", outputs[-1], *options, cwd=folder
        )
        assert result.code in (0, 3), result.stderr
    return outputs


def assert_joined_like_one_batch(folder: Path, outputs: list[str], *options: object) -> None:
    ossctl("batch", "in.jsonl", "-o", "one.jsonl", "--order", "input", *options, cwd=folder)
    result = ossctl("batch", "join", *outputs, "--of", "in.jsonl", "-o", "all.jsonl", cwd=folder)
    assert result.code == 3, "the request that failed"
    assert result.said[0].endswith(" joined, 1 failed")
    assert without_times(folder / "all.jsonl") == without_times(folder / "one.jsonl")


def test_shards_joined_are_what_one_batch_gives(tmp_path: Path, model: tuple[object, ...]) -> None:
    requests(tmp_path / "in.jsonl", 20)
    options = (*model, "--deterministic", "--keep-input", "-t", 1)
    assert_joined_like_one_batch(tmp_path, run_shards(tmp_path, 3, *options), *options)
    records = map(json.loads, (tmp_path / "all.jsonl").read_bytes().splitlines())
    failed = [record for record in records if record["error"]]
    assert [each["error"]["line"] for each in failed] == [7], "the line of the whole input"


@pytest.mark.slow
def test_eight_shards_of_nano_joined_are_what_one_batch_gives(tmp_path: Path) -> None:
    requests(tmp_path / "in.jsonl", 60)
    options = ("-m", "nano", "--deterministic", "-t", 1, "-n", 40)
    assert_joined_like_one_batch(tmp_path, run_shards(tmp_path, 8, *options), *options)


def test_two_shards_in_one_output_lose_nothing_and_a_resumed_batch_answers_the_rest(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    requests(tmp_path / "in.jsonl", 20)
    arguments = ("batch", "in.jsonl", "-o", "out.jsonl", "--order", "input", "--resume", *model)
    for number, said in ((1, "6 of 7 done, 1 failed"), (2, "7 of 7 done")):
        result = ossctl(*arguments, "--shard", f"{number}/3", "--report", "report.json", cwd=tmp_path)
        assert result.said[0].startswith(said)
        assert json.loads((tmp_path / "report.json").read_bytes())["shard"] == f"{number}/3"
    status = ossctl(
        "batch", "status", "out.jsonl", "--of", "in.jsonl", "--shard", "3/3", "--json", cwd=tmp_path
    )
    assert json.loads(status.stdout)["total"] == 6
    assert len(records_in((tmp_path / "out.jsonl").read_text("utf-8"))) == 14
    result = ossctl(*arguments, "--retry-failed", "--shard", "1/3", cwd=tmp_path)
    assert result.said[0].startswith("0 of 7 done, 1 failed, 6 skipped")
    assert ossctl(*arguments, cwd=tmp_path).said[0].startswith("6 of 20 done, 14 skipped")
    ids = [record["custom_id"] for record in records_in((tmp_path / "out.jsonl").read_text("utf-8"))]
    assert ids == [{5: "line-6", 6: "wrong"}.get(n, f"r{n}") for n in range(20)]


def test_a_shard_of_a_pipe(tmp_path: Path, model: tuple[object, ...]) -> None:
    stdin = b"".join(line_of({"prompt": "Hi", "max_tokens": 2}) for _ in range(7))
    result = ossctl("batch", "-", "--shard", "2/3", "--limit", 6, *model, cwd=tmp_path, stdin=stdin)
    assert sorted(record["custom_id"] for record in result.records) == ["line-2", "line-5"]
    result = ossctl("batch", "-", "--shard", "8/8", *model, cwd=tmp_path, stdin=stdin)
    assert (result.code, result.records) == (0, [])


def test_a_shard_without_requests_succeeds_at_once(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", *({"prompt": "Hi"} for _ in range(7)))
    arguments = ("-m", "nano", "--shard", "8/8", "-o", "out.jsonl", "--report", "report.json")
    result = ossctl("batch", "in.jsonl", *arguments, cwd=tmp_path)
    assert result.code == 0
    assert result.said[1] == "shard 8/8 has no requests: there are fewer than 8."
    assert json.loads((tmp_path / "report.json").read_bytes())["complete"]


def test_overwriting_with_a_shard_without_requests_leaves_no_old_records(
    tmp_path: Path, model: tuple[object, ...]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", *({"prompt": "Hi", "max_tokens": 2} for _ in range(2)))
    for name, given in (("out.jsonl", source), ("out.jsonl.gz", source), ("piped.jsonl", "-")):
        arguments = ("batch", "-o", name, *model)
        shard = (*arguments, given, "--shard", "3/3")
        ossctl(*arguments, source, cwd=tmp_path)
        before = (tmp_path / name).read_bytes()
        assert ossctl(*shard, "--resume", cwd=tmp_path, stdin=source.read_bytes()).code == 0
        assert (tmp_path / name).read_bytes() == before
        assert ossctl(*shard, "--overwrite", cwd=tmp_path, stdin=source.read_bytes()).code == 0
        with open_decoded(tmp_path / name) as file:
            assert file.read() == b""


@pytest.mark.parametrize("shard", ["9/8", "a/b"])
def test_a_shard_that_does_not_exist_is_refused_in_one_line(tmp_path: Path, shard: str) -> None:
    write_jsonl(tmp_path / "in.jsonl", {"prompt": "Hi"})
    result = ossctl("batch", "in.jsonl", "--shard", shard, "-m", "nano", cwd=tmp_path)
    assert result.code == 2
    assert len(result.said) == 1
    assert result.said[0].startswith("ossctl: --shard ")


def test_a_status_of_a_shard_needs_the_input(tmp_path: Path) -> None:
    result = ossctl("batch", "status", "out.jsonl", "--shard", "1/2", cwd=tmp_path)
    assert (result.code, result.said[0]) == (2, "ossctl: --shard needs --of")


def test_two_shards_that_write_one_file_are_told_apart(tmp_path: Path, model: tuple[object, ...]) -> None:
    arguments = ("-o", "out.jsonl", "--resume", *model)
    with start("batch", "-", "--shard", "1/2", *arguments, cwd=tmp_path) as first:
        first.send({"prompt": "Hi", "max_tokens": 2})
        while not (tmp_path / "out.jsonl").exists() or not (tmp_path / "out.jsonl").stat().st_size:
            time.sleep(0.02)
        write_jsonl(tmp_path / "in.jsonl", *({"prompt": "Hi"} for _ in range(2)))
        second = ossctl("batch", "in.jsonl", "--shard", "2/2", *arguments, cwd=tmp_path)
        joined = ossctl("batch", "join", "out.jsonl", "--of", "in.jsonl", cwd=tmp_path)
    assert second.code == 2
    assert second.said == [
        "ossctl: out.jsonl is being written by another program",
        "Wait until it has finished, or give each shard an output of its own with -o.",
    ]
    assert joined.code == 2
    assert joined.said[0] == "ossctl: out.jsonl is still being written"


@pytest.mark.skipif(sys.platform == "win32", reason="has no /dev/stdout")
def test_a_join_can_be_piped_and_its_output_resumed(tmp_path: Path, model: tuple[object, ...]) -> None:
    requests(tmp_path / "in.jsonl", 20)
    first, *_ = run_shards(tmp_path, 1, "--limit", 8, *model)
    options = ("--of", "in.jsonl", "--limit", 8)
    result = ossctl("batch", "join", first, *options, cwd=tmp_path)
    assert [record["custom_id"] for record in result.records][:2] == ["r0", "r1"]
    assert result.said[0] == "8 of 8 joined, 1 failed"
    to_file = ("batch", "join", first, "--of", "in.jsonl", "-o", "all.jsonl")
    ossctl(*to_file, cwd=tmp_path)
    assert ossctl(*to_file, cwd=tmp_path).said == [
        "ossctl: all.jsonl exists",
        "Choose another file with -o, or replace it with --overwrite.",
    ]
    resumed = ossctl("batch", "in.jsonl", "-o", "all.jsonl", "--resume", *model, cwd=tmp_path)
    assert resumed.said[0].startswith("12 of 20 done, 8 skipped")
