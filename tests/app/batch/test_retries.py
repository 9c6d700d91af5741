"""Answers that do not fit their schema are sampled again, each with the next seed."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.line_runner import Codec, Rules
from ossctl.app.batch.records import ModelIdentity, ResultRecords
from ossctl.app.batch.runner import BatchRunner
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.run.serve import LineServer
from ossctl.app.tools.toolbox import Toolbox
from ossctl.app.wire.lines import read_lines
from ossctl.dialect import Conversation
from ossctl.engine.grammar import JsonGrammars
from ossctl.guide import Guide
from ossctl.storage.journal import FilePolicy, OutputFile
from ossctl.templates.guide import GrammarGuide
from tests.app.batch.test_runner import END, BytesDialect
from tests.support.scripted import ScriptedRunner
from tests.support.toy_harmony import TOY

GRAMMARS = JsonGrammars(TOY)
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9, "not": {"multipleOf": 2}}


class JsonDialect(BytesDialect):
    """Holds answers to their schemas."""

    def guide(self, conversation: Conversation, prompt: Sequence[int]) -> Guide | None:
        assert conversation.json_format is not None
        return GrammarGuide(GRAMMARS.json(conversation.json_format.schema, "schema"), END)


def answered(
    path: Path, requests: Sequence[dict[str, Any]], retries: int, schema: Any = DIGIT, n_seq: int = 4
) -> tuple[BatchSummary, dict[str, Any]]:
    """The summary and the records by id, for requests that share a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    lines = [
        json.dumps({"response_format": form, "temperature": 3, **request}).encode() for request in requests
    ]
    loaded = LoadedModel("scripted", ScriptedRunner(n_vocab=TOY.size, n_seq=n_seq), JsonDialect(), TOY.piece)
    codec = Codec(
        LineParser(Defaults(schema_retries=retries)),
        ResultRecords(ModelIdentity("scripted", b"scripted", loaded.piece)),
    )
    with (
        OutputFile(FilePolicy(path), overwrite=True) as output,
        output.journal() as journal,
        Interrupt() as interrupt,
    ):
        batch = BatchRunner(loaded, codec, journal, lambda _: None, Rules())
        summary = batch.run(read_lines(io.BytesIO(b"\n".join(lines))), interrupt)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return summary, {record["custom_id"]: record for record in records}


def contents(records: dict[str, Any]) -> dict[str, list[str]]:
    return {
        name: [choice["message"]["content"] for choice in record["response"]["body"]["choices"]]
        for name, record in records.items()
        if record["error"] is None
    }


LINES = [{"prompt": f"p{number}"} for number in range(24)]


def test_an_answer_that_does_not_fit_is_sampled_again_with_the_next_seed(tmp_path: Path) -> None:
    summary, records = answered(tmp_path / "out", LINES, retries=20)
    assert (summary.done, summary.failed) == (24, 0)
    assert all(int(text) % 2 for (text,) in contents(records).values())
    bodies = [record["response"]["body"] for record in records.values()]
    again = [body for body in bodies if "finish_details" in body["choices"][0]]
    assert summary.retried == len(again) > 5
    for body in again:
        details, settings, usage = body["choices"][0]["finish_details"], body["settings"], body["usage"]
        rejected = usage["completion_tokens_details"]["rejected_tokens"]
        assert details["seed"] == settings["seed"]
        assert usage["completion_tokens"] > rejected >= details["attempts"] - 1 >= 1
    assert summary.completion_tokens == sum(body["usage"]["completion_tokens"] for body in bodies)


def test_the_recorded_seed_gives_the_same_answer_at_once(tmp_path: Path) -> None:
    _, records = answered(tmp_path / "out", LINES, retries=20)
    seeds = [records[f"line-{number}"]["response"]["body"]["settings"]["seed"] for number in range(1, 25)]
    lines = [{**line, "seed": seed} for line, seed in zip(LINES, seeds, strict=True)]
    summary, repeated = answered(tmp_path / "again", lines, retries=0)
    assert contents(repeated) == contents(records)
    assert summary.retried == 0


def test_retries_disturb_no_other_request(tmp_path: Path) -> None:
    _, once = answered(tmp_path / "once", LINES, retries=0)
    _, often = answered(tmp_path / "often", LINES, retries=20)
    _, alone = answered(tmp_path / "alone", LINES, retries=20, n_seq=1)
    assert 5 < len(contents(once)) < 20
    assert contents(often) == contents(alone)
    assert contents(once).items() <= contents(often).items()
    assert all(once[name]["id"] == often[name]["id"] for name in contents(once))


@pytest.mark.parametrize("retries", [0, 3])
def test_a_schema_that_nothing_satisfies_is_an_error_after_the_retries(retries: int, tmp_path: Path) -> None:
    schema = {"enum": [2, 4], "not": {"multipleOf": 2}}
    summary, (record,) = answered_once(tmp_path / "out", schema, retries)
    after = "after 4 attempts, " if retries else ""
    assert record["error"]["code"] == "schema_unsatisfied"
    assert record["error"]["message"].startswith(f"line 1: {after}the answer does not fit the schema: ")
    assert record["error"]["message"].endswith("(schema: /not)")
    assert summary.completion_tokens == 2 * (retries + 1)


def answered_once(path: Path, schema: Any, retries: int, **request: Any) -> tuple[BatchSummary, list[Any]]:
    summary, records = answered(path, [{"prompt": "p", **request}], retries, schema)
    return summary, [*records.values()]


def test_a_greedy_answer_is_not_sampled_again(tmp_path: Path) -> None:
    schema = {"enum": [2, 4], "not": {"multipleOf": 2}}
    summary, (record,) = answered_once(tmp_path / "out", schema, 3, temperature=0)
    assert record["error"]["message"].startswith("line 1: the answer does not fit the schema: ")
    assert summary.completion_tokens == 2


def test_choices_are_sampled_again_one_by_one_with_seeds_of_their_own(tmp_path: Path) -> None:
    _, (record,) = answered_once(tmp_path / "out", DIGIT, 20, n=6, seed=100)
    body = record["response"]["body"]
    assert body["settings"]["seed"] == 100
    details = [choice.get("finish_details", {"attempts": 1}) for choice in body["choices"]]
    assert {detail["attempts"] for detail in details} > {1}
    for index, detail in enumerate(details):
        assert detail.get("seed", 100 + index) == 100 + index + 6 * (detail["attempts"] - 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_samples_again_unless_it_has_sent_the_text(stream: bool, tmp_path: Path) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": DIGIT}}
    requests = [
        {"id": str(n), "prompt": f"p{n}", "temperature": 3, "response_format": form, "stream": stream}
        for n in range(12)
    ]
    lines = io.BytesIO(b"\n".join(json.dumps(request).encode() for request in requests))
    loaded = LoadedModel("scripted", ScriptedRunner(n_vocab=TOY.size), JsonDialect(), TOY.piece)
    with (
        OutputFile(FilePolicy(tmp_path / "out"), overwrite=True) as output,
        output.journal() as journal,
        Interrupt() as interrupt,
    ):
        LineServer(loaded, journal, Defaults(schema_retries=20), Toolbox()).run(read_lines(lines), interrupt)
    events = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    done = [event["done"] for event in events if "done" in event]
    assert all(int(each["answer"]) % 2 for each in done)
    rejected = [each["usage"]["rejected_tokens"] for each in done if "rejected_tokens" in each["usage"]]
    assert bool(rejected) is not stream
