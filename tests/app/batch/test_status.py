"""`ossctl batch status`: what it counts, and how it estimates the time that is left."""

import json
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.batch.held_records import held_path
from ossctl.app.batch.records import ID_PREFIX
from ossctl.app.batch.site_notes import SiteNotes
from ossctl.app.batch.status import BatchStatus, read_status
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.wire.shard import Shard
from ossctl.app.wire.source import Source
from ossctl.cli.batch_view import status_lines
from ossctl.storage.lock import try_lock


def line(custom_id: str, body: dict[str, Any] | None, code: str = "timeout") -> bytes:
    """A record in OpenAI's form, or a failure."""
    response = body and {"status_code": 200, "body": body}
    error = None if body else {"code": code, "message": "m", "line": 1}
    record = {"id": ID_PREFIX + "0" * 32, "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def chat(created: int) -> dict[str, Any]:
    return {"created": created, "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}


RESPONSE = {"created_at": 100, "status": "completed", "usage": {"input_tokens": 7, "output_tokens": 5}}
EMBEDDINGS = {"data": [], "usage": {"prompt_tokens": 7, "total_tokens": 7}}


def test_every_kind_of_answer_has_its_tokens_and_its_time(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    flat = {"prompt_tokens": 7, "completion_tokens": 5, "created": 102, "error": None}
    head = {"id": ID_PREFIX + "0" * 32, "custom_id": "d"}
    output.write_bytes(line("a", RESPONSE) + line("b", chat(101)) + line("c", EMBEDDINGS))
    status = read_status(output)
    assert (status.done, status.prompt_tokens, status.completion_tokens) == (3, 21, 10)
    assert (status.first, status.last) == (100, 101)
    output.write_bytes(json.dumps({**head, **flat}, separators=(",", ":")).encode() + b"\n")
    status = read_status(output)
    assert (status.prompt_tokens, status.completion_tokens, status.last) == (7, 5, 102)


def test_the_last_record_of_a_request_counts(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_bytes(line("a", None) + line("b", None, "other") + line("c", None) + line("a", chat(100)))
    held_path(output).write_bytes(line("c", chat(101)) + line("a", chat(100)))
    status = read_status(output)
    assert (status.done, dict(status.errors)) == (2, {"other": 1})
    assert status.completion_tokens == 10


def test_records_of_requests_that_the_input_does_not_have_are_counted_apart(tmp_path: Path) -> None:
    output, source = tmp_path / "out.jsonl", tmp_path / "in.jsonl"
    source.write_bytes(b'{"id": "a", "prompt": "x"}\n{"prompt": "x"}\n{"id": "c", "prompt": "x"}\n')
    others = line("x", chat(90)) + line("y", None) + line("y", None)
    output.write_bytes(line("a", chat(100)) + others + line("line-2", None, "other"))
    status = read_status(output, Source(source))
    assert (status.total, status.done, dict(status.errors), status.others) == (3, 1, {"other": 1}, 2)
    assert (status.completion_tokens, status.first) == (5, 100)
    first, *rest = status_lines(status)
    assert first == "1 of 3 done, 1 failed (1 other) · 7 tokens in, 5 out"
    assert rest == [
        "not running; --resume continues it",
        "2 records in it are of requests that the input does not have",
    ]
    part = read_status(output, Source(source, shard=Shard(1, 2)))
    assert (part.total, part.done, part.failed, part.others) == (2, 1, 0, 3)
    assert (read_status(output).done, read_status(output).others) == (2, 0)


def test_records_with_line_numbers_for_ids_are_of_these_lines(tmp_path: Path) -> None:
    output, source = tmp_path / "out.jsonl", tmp_path / "in.jsonl"
    source.write_bytes(b'{"id": "a", "prompt": "x"}\n')
    output.write_bytes(line("line-1", chat(100)))  # of a batch with --assign-ids
    status = read_status(output, Source(source))
    assert (status.total, status.done, status.others) == (1, 1, 0)


@pytest.mark.parametrize("bodies", [[chat(0), chat(10)], [EMBEDDINGS, EMBEDDINGS]])
def test_the_time_left_is_that_at_the_pace_of_the_run(tmp_path: Path, bodies: list[dict[str, Any]]) -> None:
    output, source = tmp_path / "out.jsonl", tmp_path / "in.jsonl"
    source.write_bytes(b'{"prompt": "x"}\n' * 40)
    earlier = line("line-1", chat(100)) + line("line-2", chat(110))
    now = [line(f"line-{number}", body) for number, body in enumerate(bodies, 3)]
    output.write_bytes(earlier + b"".join(now))  # a day later
    watch = SiteNotes(output).watched(lambda _: None)
    watch(BatchSummary(done=2, skipped=2, completion_tokens=10, seconds=4.0))
    with output.open("rb") as file:
        assert try_lock(file)
        status = read_status(output, Source(source))
        assert status.seconds_left == pytest.approx(36 * 4 / 2)
        assert next(status_lines(status)).endswith(" · 2.5 tokens/s")
    assert read_status(output, Source(source)).seconds_left is None


def test_a_run_without_two_answers_estimates_nothing() -> None:
    assert BatchStatus(running=True, total=5, done=3).seconds_left is None
