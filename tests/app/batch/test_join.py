"""Joining outputs of shards: what is kept of several records, what is missing, what is refused."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossctl.app.batch.held_records import held_path
from ossctl.app.batch.join import Joined, JoinJob
from ossctl.app.batch.records import ID_PREFIX
from ossctl.app.wire.chat_completions import custom_id_of
from ossctl.app.wire.shard import Shard
from ossctl.app.wire.source import Source
from ossctl.cli.batch_view import join_lines
from ossctl.errors import ExitCode, UsageError
from ossctl.storage.compression import encode_in_blocks, encoder_for, open_decoded
from ossctl.storage.journal import FilePolicy, OutputFile


def record(custom_id: object, text: str = "x", *, failed: bool = False, model: str = "m") -> bytes:
    error = {"code": "timeout", "message": "m", "line": 1} if failed else None
    response = None if failed else {"status_code": 200, "body": {"model": model, "text": text}}
    fields = {"id": ID_PREFIX + "0" * 32, "custom_id": str(custom_id), "response": response, "error": error}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def flat(custom_id: object) -> bytes:
    fields = {"id": ID_PREFIX + "0" * 32, "custom_id": str(custom_id), "content": "x", "error": None}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def written(path: Path, *records: bytes) -> Path:
    encoder = encoder_for(path)
    path.write_bytes(b"".join([*encode_in_blocks(records, encoder), encoder.finish()]))
    return path


def job(folder: Path, count: int, *outputs: Path, **more: Any) -> JoinJob:
    source = written(folder / "in.jsonl", *(b'{"id": %d, "prompt": "x"}\n' % n for n in range(count)))
    return JoinJob(outputs, Source(source), custom_id_of, **{"target": folder / "all.jsonl", **more})


def shares(folder: Path, count: int, n: int, suffix: str = ".jsonl") -> list[Path]:
    """The outputs of `n` shards, each in the order in which its requests happened to be finished."""
    paths = []
    for number in range(1, n + 1):
        ids = [*Shard(number, n).of(range(count))]
        random.Random(number).shuffle(ids)
        paths.append(written(folder / f"out.{number}{suffix}", *map(record, ids)))
    return paths


def remarks(joined: Joined) -> list[str]:
    return [*join_lines(joined, Path("all.jsonl"))]


@settings(max_examples=30)
@given(count=st.integers(1, 40), n=st.integers(1, 9), suffix=st.sampled_from([".jsonl", ".jsonl.gz", ".zst"]))
def test_shards_are_joined_in_the_order_of_the_input(
    tmp_path_factory: pytest.TempPathFactory, count: int, n: int, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("join")
    outputs = shares(folder, count, n, suffix)
    joined = job(folder, count, *outputs, target=folder / f"all{suffix}").run()
    with open_decoded(folder / f"all{suffix}") as file:
        assert file.read() == b"".join(map(record, range(count)))
    assert (joined.exit_code, remarks(joined)) == (ExitCode.DONE, [])


@pytest.mark.parametrize(
    ("outputs", "kept"),
    [
        ([[record(0, "old"), record(0, "new")]], record(0, "new")),
        ([[record(0, "old"), record(0, failed=True)]], record(0, failed=True)),  # as --resume has it
        ([[record(0, "answer")], [record(0, failed=True)]], record(0, "answer")),
        ([[record(0, failed=True)], [record(0, "answer")]], record(0, "answer")),
        ([[record(0, "first")], [record(0, "second")]], record(0, "second")),
    ],
)
def test_an_answer_wins_over_a_failure_and_a_later_record_over_an_earlier_one(
    tmp_path: Path, outputs: list[list[bytes]], kept: bytes
) -> None:
    paths = [written(tmp_path / f"out.{n}.jsonl", *records) for n, records in enumerate(outputs)]
    joined = job(tmp_path, 1, *paths).run()
    assert (tmp_path / "all.jsonl").read_bytes() == kept
    answers = sum(b'"error":null' in records[-1] for records in outputs)
    assert joined.repeated == (answers == 2)
    assert joined.failed == (b'"error":null' not in kept)


def test_what_is_missing_failed_or_strange_is_reported(tmp_path: Path) -> None:
    first, second, third = shares(tmp_path, 30, 3)
    written(second, *map(record, range(1, 19, 3)), record(19, failed=True))
    third.unlink()
    written(first, *map(record, range(0, 30, 3)), record("other"), record("else", model="n"))
    joined = job(tmp_path, 30, first, second, third).run()
    assert joined.exit_code is ExitCode.SOME_FAILED
    assert remarks(joined) == [
        f"{third} does not exist",
        "missing: 13 (2, 5, 8, 11, 14, …); continue all.jsonl with ossctl batch --resume",
        f"missing of shard 2/3: 3 of 10, in {second}",
        "missing of shard 3/3: 10 of 10, no output has any",
        "1 failed: use --resume --retry-failed to run them again",
        "left out, of no request: 2 (else, other)",
    ]


def test_the_number_of_shards_is_not_guessed(tmp_path: Path) -> None:
    few = [written(tmp_path / f"out.{n}.jsonl", record(n), record(n + 16)) for n in range(2)]
    assert job(tmp_path, 40, *few).run().gaps == []
    mixed = [written(tmp_path / "mixed.jsonl", *map(record, range(20)))]
    assert job(tmp_path, 40, *mixed, overwrite=True).run().gaps == []
    two_of_eight = shares(tmp_path, 40, 8)[2:4]
    gaps = job(tmp_path, 40, *two_of_eight, overwrite=True).run().gaps
    assert [str(gap.shard) for gap in gaps] == ["1/8", "2/8", "5/8", "6/8", "7/8", "8/8"]


def test_answers_of_another_model_are_reported(tmp_path: Path) -> None:
    outputs = shares(tmp_path, 4, 2)
    written(outputs[1], record(1, model="other\x1b"), record(3))
    assert remarks(job(tmp_path, 4, *outputs).run()) == [
        "answers are of several models: m (3), other\ufffd (1)"
    ]


def test_records_that_wait_in_a_spool_and_torn_lines_are_read_as_by_a_resumed_batch(tmp_path: Path) -> None:
    outputs = [tmp_path / f"out.{n}.jsonl" for n in range(3)]
    outputs[0].write_bytes(record(0) + record(3)[:-1])  # only the newline is missing
    outputs[1].write_bytes(record(1) + record(4)[:-5])
    outputs[2].write_bytes(b"")
    held_path(outputs[2]).write_bytes(record(2) + record(5)[:20])
    joined = job(tmp_path, 6, *outputs).run()
    assert (tmp_path / "all.jsonl").read_bytes() == b"".join(map(record, range(4)))
    assert (joined.missing, joined.missing_ids) == (2, ["4", "5"])
    assert f"{outputs[1]}: its end is cut off; all complete records were read" in remarks(joined)


def test_a_torn_compressed_output_is_joined_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.gz"
    encoder = encoder_for(path)
    path.write_bytes(encoder.encode(record(0)) + encoder.encode(record(1)) + encoder.encode(record(2))[:-8])
    joined = job(tmp_path, 3, path).run()
    assert (joined.missing_ids, joined.torn) == (["2"], [path])


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_output_that_only_lacks_its_end_is_joined_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.jsonl{suffix}"  # as `kill -9` leaves it
    encoder = encoder_for(path)
    path.write_bytes(b"".join(encoder.encode(record(number)) for number in range(3)))
    joined = job(tmp_path, 3, path).run()
    assert (tmp_path / "all.jsonl").read_bytes() == b"".join(map(record, range(3)))
    assert remarks(joined) == [f"{path}: its end is cut off; all complete records were read"]


def test_an_output_that_is_being_written_is_refused_and_cannot_be_continued_meanwhile(tmp_path: Path) -> None:
    outputs = shares(tmp_path, 4, 2)
    with (
        OutputFile(FilePolicy(outputs[1]), overwrite=False),
        pytest.raises(UsageError, match=r"out\.2\.jsonl is still being written"),
    ):
        job(tmp_path, 4, *outputs).run()
    assert not (tmp_path / "all.jsonl").exists()
    assert job(tmp_path, 4, *outputs).run().missing == 0


REFUSED = {
    "flat and not": r"the records in .*out\.1\.jsonl are OpenAI's, those in .*out\.2\.jsonl are flat",
    "the input": r"in\.jsonl is not the output of a batch: line 1 is not a record",
    "torn, no output": r"out\.2\.jsonl is not the output of a batch: line 1 is not a record",
    "a folder": "is not a file",
    "twice": r"out\.1\.jsonl is given twice",
    "none exists": r"nowhere\.jsonl does not exist",
    "the target": r"out\.2\.jsonl is one of the files to join",
    "the target exists": r"all\.jsonl exists",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_cannot_be_joined_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    first, second = shares(tmp_path, 4, 2)
    outputs, more = [first, second], {}
    match kind:
        case "flat and not":
            written(second, flat(1), flat(3))
        case "the input":
            outputs.append(tmp_path / "in.jsonl")
        case "torn, no output":
            second.write_bytes(b"hello")
        case "a folder":
            outputs.append(tmp_path)
        case "twice":
            outputs.append(tmp_path / "." / "out.1.jsonl")
        case "none exists":
            outputs = [tmp_path / "nowhere.jsonl"]
        case "the target":
            more = {"target": second, "overwrite": True}
        case "the target exists":
            (tmp_path / "all.jsonl").write_bytes(b"precious")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(UsageError, match=REFUSED[kind]):
        job(tmp_path, 4, *outputs, **more).run()
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "all.jsonl").exists() is (kind == "the target exists")


def test_flat_outputs_are_joined(tmp_path: Path) -> None:
    outputs = [written(tmp_path / f"out.{n}.jsonl", flat(n), flat(n + 2)) for n in range(2)]
    job(tmp_path, 4, *outputs).run()
    assert (tmp_path / "all.jsonl").read_bytes() == b"".join(map(flat, range(4)))


def test_outputs_of_a_sample_are_joined_by_the_same_sample(tmp_path: Path) -> None:
    whole = job(tmp_path, 30).source
    sample = Source(whole.path, sample=10, seed=3)
    ids = [custom_id_of(line) for line in sample.selected(sample.survey(custom_id_of))]
    outputs = [written(tmp_path / f"out.{n}.jsonl", *map(record, ids[n::2])) for n in range(2)]
    joined = JoinJob(outputs, sample, custom_id_of, tmp_path / "all.jsonl").run()
    assert (joined.total, joined.missing) == (10, 0)
    assert (tmp_path / "all.jsonl").read_bytes() == b"".join(map(record, ids))


def test_a_pipe_cannot_be_the_input(tmp_path: Path) -> None:
    outputs = shares(tmp_path, 4, 2)
    with pytest.raises(UsageError, match="standard input is not a file"):
        JoinJob(outputs, Source(None), custom_id_of, tmp_path / "all.jsonl").run()
