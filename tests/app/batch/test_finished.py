"""Whether an answer is still valid when the token limit or the context has changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.batch.finished import RecordState, Wanted
from ossctl.app.batch.records import ID_PREFIX, ID_PREFIX_1
from ossctl.app.batch.resume import read_back

DONE, CUT, CHANGED, FAILED = (
    RecordState.DONE,
    RecordState.CUT,
    RecordState.CHANGED,
    RecordState.FAILED,
)
PROMPT_TOKENS = 10


def hashed(request: str) -> str:
    return request.encode().hex().ljust(32, "0")


def wanted(max_tokens: int | None, n_ctx: int) -> Wanted:
    """The request "x". By version 1, its id names the limit."""
    return Wanted(
        ID_PREFIX + hashed("x"),
        lambda: ID_PREFIX + hashed(f"failed {max_tokens}"),
        lambda limit: ID_PREFIX_1 + hashed(f"x {limit}"),
        max_tokens,
        n_ctx,
    )


def choices(*ends: tuple[str, int], with_counts: bool = True) -> dict[str, Any]:
    several = len(ends) > 1 and with_counts
    return {
        "choices": [
            {"finish_reason": finish, **({"completion_tokens": count} if several else {})}
            for finish, count in ends
        ],
        "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": sum(count for _, count in ends)},
    }


def state(
    folder: Path, body: dict[str, Any], max_tokens: int | None, n_ctx: int = 1000, record_id: str = ""
) -> RecordState:
    """The state of the request "x" that is answered by `body`, after a cut answer of version 1."""
    old = {
        "id": ID_PREFIX_1 + hashed("x 30"),
        "custom_id": "old",
        "response": {"body": choices(("length", 30))},
    }
    record = {"id": record_id or ID_PREFIX + hashed("x"), "custom_id": "x", "response": {"body": body}}
    lines = [json.dumps(each, separators=(",", ":")) + "\n" for each in (old, record)]
    (folder / "out.jsonl").write_text("".join(lines))
    finished, _ = read_back(folder / "out.jsonl", flat=False)
    return finished.look_up("x", wanted(max_tokens, n_ctx))


@pytest.mark.parametrize(
    ("ends", "max_tokens", "expected"),
    [
        ([("stop", 20)], None, DONE),
        ([("stop", 20)], 20, DONE),
        ([("stop", 20)], 19, CHANGED),  # it would be cut now
        ([("tool_calls", 20)], 5000, DONE),
        ([("length", 20)], 20, DONE),  # it would be cut there again
        ([("length", 20)], 21, CUT),
        ([("length", 20)], None, CUT),
        ([("length", 20)], 19, CHANGED),
        ([("stop", 20), ("stop", 30)], 30, DONE),  # 50 together
        ([("stop", 20), ("stop", 30)], 29, CHANGED),
        ([("stop", 5), ("length", 20)], 20, DONE),
        ([("stop", 5), ("length", 20)], 40, CUT),
    ],
)
def test_an_answer_that_another_limit_does_not_change_is_kept(
    tmp_path: Path, ends: list[tuple[str, int]], max_tokens: int | None, expected: RecordState
) -> None:
    assert state(tmp_path, choices(*ends), max_tokens) is expected


@pytest.mark.parametrize(("n_ctx", "expected"), [(29, DONE), (30, CUT), (300, CUT)])
def test_an_answer_that_the_context_cut_gets_longer_only_in_a_larger_one(
    tmp_path: Path, n_ctx: int, expected: RecordState
) -> None:
    # an answer may be one token longer than the context, so 10 + 20 tokens fill one of 29
    assert state(tmp_path, choices(("length", 20)), None, n_ctx) is expected


@pytest.mark.parametrize(
    ("then", "ends", "now", "expected"),
    [
        (100, [("stop", 20)], 100, DONE),
        (None, [("stop", 20)], None, DONE),
        (None, [("stop", 20)], 100, DONE),
        (30, [("stop", 20)], 100, DONE),  # 30 is known from the answer that was cut there
        (31, [("stop", 20)], 100, CHANGED),  # no limit that is known
        (30, [("length", 30)], 100, CUT),
        (30, [("length", 30)], 30, DONE),
        (30, [("stop", 25), ("stop", 25)], 30, DONE),  # each is within the limit
        (30, [("stop", 25), ("length", 30)], 100, CUT),
    ],
)
def test_answers_of_version_1_are_recognised(
    tmp_path: Path, then: int | None, ends: list[tuple[str, int]], now: int | None, expected: RecordState
) -> None:
    body = choices(*ends, with_counts=False)
    assert state(tmp_path, body, now, record_id=ID_PREFIX_1 + hashed(f"x {then}")) is expected


def test_a_response_object_that_is_incomplete_is_cut(tmp_path: Path) -> None:
    usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": 20}
    body = {"object": "response", "status": "incomplete", "usage": usage}
    assert [state(tmp_path, body, limit) for limit in (20, 40)] == [DONE, CUT]
    assert state(tmp_path, {**body, "status": "completed"}, 40) is DONE


def test_flat_records_tell_the_same(tmp_path: Path) -> None:
    fields = {"finish_reason": "length", "prompt_tokens": PROMPT_TOKENS, "completion_tokens": 20}
    record = {"id": ID_PREFIX + hashed("x"), "custom_id": "x", **fields, "error": None}
    (tmp_path / "out.jsonl").write_text(json.dumps(record, separators=(",", ":")) + "\n")
    finished, _ = read_back(tmp_path / "out.jsonl", flat=True)
    assert [finished.look_up("x", wanted(limit, 1000)) for limit in (20, 40)] == [DONE, CUT]


@pytest.mark.parametrize(("then", "now", "expected"), [(30, 30, FAILED), (30, 40, CHANGED)])
def test_a_failure_belongs_to_its_limit(tmp_path: Path, then: int, now: int, expected: RecordState) -> None:
    error = {"code": "schema_unsatisfied"}
    record = {"id": ID_PREFIX + hashed(f"failed {then}"), "custom_id": "x", "response": None, "error": error}
    (tmp_path / "out.jsonl").write_text(json.dumps(record, separators=(",", ":")) + "\n")
    finished, _ = read_back(tmp_path / "out.jsonl", flat=False)
    assert finished.look_up("x", wanted(now, 1000)) is expected
