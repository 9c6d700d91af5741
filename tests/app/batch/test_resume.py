"""Reading an output back: torn ends, files that are not outputs, several records of an id."""

import itertools
import json
import random
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.app.batch.finalize import finalize
from ossctl.app.batch.finished import RecordState, Wanted
from ossctl.app.batch.records import ID_PREFIX
from ossctl.app.batch.resume import read_back, resume_journal
from ossctl.app.wire.source import id_hash
from ossctl.errors import OssctlError, UsageError
from ossctl.storage.compression import encoder_for, open_decoded
from ossctl.storage.journal import FilePolicy, Journal, OutputFile


def record_id(request: str) -> str:
    return ID_PREFIX + request.encode().hex().ljust(32, "0")


def line(custom_id: str, request: str = "x", *, failed: bool = False) -> bytes:
    error = {"code": "timeout", "message": "m", "line": 1} if failed else None
    response = None if failed else {"status_code": 200}
    record = {"id": record_id(request), "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


@contextmanager
def resumed(path: Path) -> Iterator[Journal]:
    with OutputFile(FilePolicy(path), overwrite=False) as output:
        _, torn = read_back(path, flat=False)
        with resume_journal(output, torn) as journal:
            yield journal


TORN: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda last: b"",
    "its newline is missing": lambda last: last[:-1],
    "half of it": lambda last: last[: len(last) // 2],
    "one byte": lambda last: last[:1],
    "zeros, as after a loss of power": lambda last: last[:30] + bytes(500),
    "nothing but zeros": lambda last: bytes(500),
}


@pytest.mark.parametrize("kind", TORN)
def test_a_torn_last_line_is_repaired(tmp_path: Path, kind: str) -> None:
    path, whole, last = tmp_path / "out.jsonl", line("a") + line("b"), line("c")
    path.write_bytes(whole + TORN[kind](last))
    with resumed(path) as journal:
        journal.append(line("d").strip())
    kept = last if kind == "its newline is missing" else b""
    assert path.read_bytes() == whole + kept + line("d")


@given(st.sampled_from(["gz", "zst"]), st.integers(0, 6), st.integers(1, 400))
def test_a_compressed_output_is_resumed_wherever_it_was_cut(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, count: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / f"out.jsonl.{suffix}"
    encoder = encoder_for(path)
    pieces = [encoder.encode(line(str(number))) for number in range(count)]
    data = b"".join([*pieces, encoder.finish()])
    sizes = list(itertools.accumulate(map(len, pieces), initial=0))
    path.write_bytes(data[: max(0, len(data) - cut)])
    whole = sum(size <= len(data) - cut for size in sizes[1:])
    with resumed(path) as journal:
        journal.append(line("new").strip())
    with open_decoded(path) as file:
        found = file.read()
    # a line can be there without the last bytes of its piece, which hold none of it
    assert found in [b"".join(map(line, map(str, range(n)))) + line("new") for n in (whole, whole + 1)]


COMPRESSED = pytest.mark.parametrize("suffix", [".gz", ".zst"])


def compressed(path: Path, *lines: bytes, end: bool = True) -> bytes:
    """Write a compressed output, with or without the end of its stream, and return its bytes."""
    encoder = encoder_for(path)
    data = encoder.encode(b"".join(lines)) + (encoder.finish() if end else b"")
    path.write_bytes(data)
    return data


def decompressed(path: Path) -> bytes:
    """The contents of a compressed file; fails without the end of its stream."""
    with open_decoded(path) as file:
        return file.read()


@COMPRESSED
def test_a_finished_compressed_output_stays_whole_until_a_line_is_appended(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"out.jsonl{suffix}"
    before = compressed(path, *map(line, map(str, range(400))))
    with resumed(path):
        assert path.read_bytes() == before, "a kill at this moment would leave the file without its end"
    assert path.read_bytes() == before
    with resumed(path) as journal:
        journal.append(line("new").strip())
        journal.append(line("newer").strip())
    assert decompressed(path) == b"".join(map(line, [*map(str, range(400)), "new", "newer"]))


@COMPRESSED
@pytest.mark.parametrize(
    ("last", "end", "kept"),
    [(b"", False, b""), (line("c")[:60], False, b""), (line("c")[:-1], True, line("c"))],
    ids=["no end", "half a line", "no newline"],
)
def test_a_torn_compressed_output_is_repaired_even_if_nothing_is_appended(
    tmp_path: Path, suffix: str, last: bytes, end: bool, kept: bytes
) -> None:
    path = tmp_path / f"out.jsonl{suffix}"
    before = compressed(path, line("a"), line("b"), last, end=end)
    with resumed(path):
        assert path.read_bytes() == before
    assert decompressed(path) == line("a") + line("b") + kept


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file sizes")
@COMPRESSED
def test_a_full_disk_at_the_first_line_leaves_a_compressed_output_as_it_was(
    tmp_path: Path, suffix: str
) -> None:
    import resource

    path = tmp_path / f"out.jsonl{suffix}"
    before = compressed(path, *map(line, map(str, range(400))))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with resumed(path) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
        try:
            with pytest.raises(OssctlError, match="cannot write"):
                journal.append(random.randbytes(100).hex().encode())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (path.read_bytes(), sorted(tmp_path.iterdir())) == (before, [path])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes no file that is open")
def test_a_compressed_output_deleted_before_its_first_line_is_rescued(tmp_path: Path) -> None:
    path, rescued = tmp_path / "out.jsonl.gz", tmp_path / "rescued"
    before = compressed(path, line("a"))
    with OutputFile(FilePolicy(path, rescue_dir=rescued), overwrite=False) as output:
        journal = resume_journal(output, read_back(path, flat=False)[1])
        path.unlink()
        path.write_bytes(b"somebody else's")
        with pytest.raises(OssctlError, match="was deleted or replaced"):
            journal.append(line("b").strip())
        journal.close()
    assert path.read_bytes() == b"somebody else's"
    assert (rescued / "out.jsonl.gz").read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"precious\n",
        b"precious",
        b'{"id": "batch_req_1", "custom_id": "a"}\n',
        bytes(100),
        b"\xff\xfe\n",
        b"\n",
    ],
)
def test_a_file_that_is_not_an_output_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match="is not the output of a batch: line 1 is not a record"):
        read_back(tmp_path / "out.jsonl", flat=False)


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_bytes(line("a") + line("b")[:50] + b"\n" + line("c"))
    with pytest.raises(UsageError, match="line 2 is not a record"):
        read_back(tmp_path / "out.jsonl", flat=False)


def test_records_of_the_other_form_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_bytes(line("a"))
    with pytest.raises(UsageError, match="are OpenAI's") as refused:
        read_back(tmp_path / "out.jsonl", flat=True)
    assert refused.value.hint == "Remove --flat."


def test_the_state_of_every_request_is_known(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(line("a") + line("b", failed=True) + line("c") + line("a", "later"))
    finished, _ = read_back(path, flat=False)
    assert (finished.count, finished.replaced) == (3, 1)

    def state(custom_id: str, request: str) -> RecordState:
        return finished.look_up(custom_id, Wanted(record_id(request), lambda: record_id(request)))

    assert state("a", "later") is RecordState.DONE
    assert state("a", "x") is RecordState.CHANGED
    assert state("d", "x") is RecordState.MISSING
    assert finished.orphaned_failures() == 1
    assert state("b", "x") is RecordState.FAILED
    assert finished.orphaned_failures() == 0


def finalized(path: Path, order: list[str] | None, *, complete: bool = True) -> list[str]:
    """The ids in the finalized output, with an asterisk after those of later records."""
    hashes = None if order is None else array("Q", map(id_hash, order))
    with OutputFile(FilePolicy(path), overwrite=False) as output:
        finalize(output, hashes, input_is_complete=complete)
    with open_decoded(path) as file:
        records = [json.loads(each) for each in file.read().splitlines()]
    return [record["custom_id"] + "*" * (record["id"] == record_id("later")) for record in records]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_the_last_record_of_each_id_is_kept_in_the_given_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.jsonl{suffix}"

    def write() -> None:
        lines = [
            line("c"),
            line("a", failed=True),
            line("gone", failed=True),
            line("b"),
            line("old"),
            line("a", "later"),
        ]
        encoder = encoder_for(path)
        path.write_bytes(encoder.encode(b"".join(lines)) + encoder.finish())

    write()
    assert finalized(path, None) == ["c", "gone", "b", "old", "a*"]
    assert finalized(path, ["a", "b", "c"]) == ["a*", "b", "c", "old"]
    write()
    assert finalized(path, ["a", "b", "c"], complete=False) == ["a*", "b", "c", "gone", "old"]


def test_an_output_that_needs_no_change_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(line("a") + line("b"))
    before = path.stat()
    assert finalized(path, ["a", "b"]) == ["a", "b"]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
