"""Tools in batches and `--serve-stdin`: calls run beside the engine, and results continue the answers."""

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
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
from ossctl.app.inference.request import GenerationSpec, prepare_generation
from ossctl.app.run.serve import LineServer
from ossctl.app.tools.command import ToolCommand, ToolCommands
from ossctl.app.tools.rounds import ResultSpace
from ossctl.app.tools.source import KeepGoing, ToolOutcome, stopped
from ossctl.app.tools.toolbox import Toolbox
from ossctl.app.wire.lines import Line, read_lines
from ossctl.dialect import Conversation, Message, Tool, ToolCall
from ossctl.engine.grammar import JsonGrammars
from ossctl.engine.request import Sampling
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.storage.journal import FilePolicy, Journal, OutputFile
from tests.support.scripted_calls import Replies, call, final
from tests.support.toy_harmony import TOY, ToyVocabulary

THINKING = "<|channel|>analysis<|message|>Upper.<|end|><|start|>assistant"
REPLIES = [THINKING + call("upper", '{"text":"pear"}'), call("upper", '{"text":"fig"}'), final("PEAR, FIG")]
UPPER = (sys.executable, "-c", "import json, sys; print(json.load(sys.stdin)['text'].upper())")
GRAMMARS = JsonGrammars(TOY)
SHORT = Defaults(max_tokens=500)


class Hanging:
    """A function whose calls only end when they are stopped. `started` is set by the first."""

    concurrent = False

    def __init__(self) -> None:
        self.started = Event()

    def tools(self) -> Sequence[Tool]:
        return [Tool("upper")]

    def describe(self, name: str) -> str:
        return name

    def notes(self) -> Sequence[str]:
        return ()

    def open(self) -> "Hanging":
        return self

    def question(self, call: ToolCall) -> None:
        """Nothing outside is touched."""

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        self.started.set()
        while keep_going():
            pass
        return stopped(call)

    def close(self) -> None:
        """Nothing is left running."""


def upper() -> Toolbox:
    return Toolbox([ToolCommands((Tool("upper"),), {"upper": ToolCommand(UPPER, 20.0)})])


def model_of(replies: Sequence[str], n_seq: int = 2) -> LoadedModel:
    dialect = HarmonyDialect(TOY, TOY.markers, GRAMMARS)
    return LoadedModel("scripted", Replies(replies=replies, n_seq=n_seq), dialect, TOY.piece)


def lines_of(*requests: Mapping[str, Any]) -> Iterator[Line]:
    return read_lines(io.BytesIO(b"\n".join(json.dumps(request).encode() for request in requests)))


@contextmanager
def journal_of(path: Path) -> Iterator[Journal]:
    with OutputFile(FilePolicy(path), overwrite=True) as output, output.journal() as journal:
        yield journal


def batched(
    path: Path,
    tools: Toolbox,
    *requests: Mapping[str, Any],
    replies: Sequence[str] = REPLIES,
    flat: bool = False,
) -> tuple[BatchSummary, list[dict[str, Any]]]:
    loaded = model_of(replies)
    records = ResultRecords(ModelIdentity("scripted", b"scripted", loaded.piece), flat=flat)
    codec = Codec(LineParser(replace(SHORT, tools=tools.offered)), records)
    with journal_of(path) as journal, Interrupt() as interrupt:
        batch = BatchRunner(loaded, codec, journal, lambda _: None, Rules(tools=tools))
        summary = batch.run(lines_of(*requests), interrupt)
    return summary, [json.loads(line) for line in path.read_text().splitlines()]


def served(path: Path, lines: Iterator[Line], tools: Toolbox) -> list[dict[str, Any]]:
    defaults = replace(SHORT, tools=tools.offered)
    with journal_of(path) as journal, Interrupt() as interrupt:
        LineServer(model_of(REPLIES), journal, defaults, tools).run(lines, interrupt)
    return [json.loads(line) for line in path.read_text().splitlines()][1:]


def test_a_record_has_every_call_with_its_result_and_counts_all_rounds(tmp_path: Path) -> None:
    requests = [{"id": str(n), "prompt": "Upper case?"} for n in range(6)]
    summary, records = batched(tmp_path / "out", upper(), *requests)
    assert (summary.done, summary.failed) == (6, 0)
    for record in records:
        body = record["response"]["body"]
        (choice,) = body["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("PEAR, FIG", "stop")
        assert choice["message"]["reasoning_content"] == "Upper."
        results = choice["tool_results"]
        assert [(each["arguments"], each["result"]) for each in results] == [
            ('{"text":"pear"}', "PEAR"),
            ('{"text":"fig"}', "FIG"),
        ]
        assert all(each["ok"] and each["seconds"] > 0 for each in results)
        assert body["usage"]["completion_tokens"] == sum(len(TOY.ids(reply)) for reply in REPLIES)
    usages = [record["response"]["body"]["usage"] for record in records]
    assert summary.prompt_tokens == sum(usage["prompt_tokens"] for usage in usages)


def test_each_choice_has_calls_of_its_own(tmp_path: Path) -> None:
    _, (record,) = batched(tmp_path / "out", upper(), {"prompt": "Upper?", "n": 3}, flat=True)
    assert [choice["content"] for choice in record["choices"]] == ["PEAR, FIG"] * 3
    assert [len(choice["tool_results"]) for choice in record["choices"]] == [2, 2, 2]


def test_a_call_that_needs_consent_does_not_run_where_none_was_given(tmp_path: Path) -> None:
    command = ToolCommands((Tool("upper"),), {"upper": ToolCommand(UPPER, 20.0)})
    replies = [call("upper", '{"text":"x"}'), final("X")]
    _, (record,) = batched(
        tmp_path / "out", Toolbox([command], unasked=False), {"prompt": "Upper?"}, replies=replies, flat=True
    )
    assert record["content"] == "X"
    (result,) = record["tool_results"]
    assert (result["ok"], result["result"]) == (False, "The user does not allow this call.")


def test_a_model_that_never_stops_calling_has_to_answer(tmp_path: Path) -> None:
    tools = Toolbox([ToolCommands((Tool("upper"),), {"upper": ToolCommand(UPPER, 20.0)})], max_rounds=1)
    replies = [call("upper", '{"text":"x"}'), final("X")]
    _, (record,) = batched(tmp_path / "out", tools, {"prompt": "Upper?"}, replies=replies, flat=True)
    assert record["content"] == "X"


def test_an_answer_after_a_required_call_may_be_cut(tmp_path: Path) -> None:
    replies = [call("upper", "{}"), final("X" * 400)]
    request = {"prompt": "Upper?", "tool_choice": "required", "max_tokens": 100}
    _, (record,) = batched(tmp_path / "out", upper(), request, replies=replies, flat=True)
    assert record["error"] is None
    assert record["finish_reason"] == "length"
    assert len(record["tool_results"]) == 1


def test_a_result_without_space_in_the_context_is_an_error_for_the_model(tmp_path: Path) -> None:
    replies = [call("upper", '{"text":"a"}'), call("upper", '{"text":"b"}'), final("AB")]
    program = "import json, sys; print('x' * 5_000 if json.load(sys.stdin)['text'] == 'a' else 'B')"
    command = ToolCommand((sys.executable, "-c", program), 20.0)
    tools = Toolbox([ToolCommands((Tool("upper"),), {"upper": command})])
    _, (record,) = batched(tmp_path / "out", tools, {"prompt": "Upper?"}, replies=replies, flat=True)
    assert record["content"] == "AB"
    large, small = record["tool_results"]
    assert "the result, 5,000 bytes, does not fit into the context window" in large["result"]
    assert (large["ok"], small["result"]) == (False, "B")


def test_the_space_for_results_is_counted_in_tokens() -> None:
    words = ToyVocabulary(["pear "])
    loaded = LoadedModel("toy", Replies(), HarmonyDialect(words, words.markers, GRAMMARS), words.piece)
    user, made = Message("user", "Upper?"), ToolCall("upper", "{}")
    spec = GenerationSpec(Conversation((user,)), None, (), Sampling())
    conversation = Conversation((user, Message("assistant", "", calls=(made,))))
    space = ResultSpace(loaded, conversation, prepare_generation(loaded, spec, "x"))
    results = [ToolOutcome(made, text, ok=True) for text in ("pear " * 1_000, "pear " * 1_000, "x" * 5_000)]
    assert [space.take(result).ok for result in results] == [True, True, False]


def test_a_function_of_the_line_is_answered_by_its_author(tmp_path: Path) -> None:
    function = {"type": "function", "function": {"name": "mine"}}
    request = {"prompt": "Upper?", "tools": [function]}
    _, (record,) = batched(tmp_path / "out", upper(), request, replies=[call("mine", "{}")], flat=True)
    assert record["tool_calls"] == [{"name": "mine", "arguments": "{}"}]
    assert record["finish_reason"] == "tool_calls"


def test_a_line_with_a_function_of_the_same_name_is_refused(tmp_path: Path) -> None:
    function = {"type": "function", "function": {"name": "upper"}}
    summary, (record,) = batched(tmp_path / "out", upper(), {"prompt": "Upper?", "tools": [function]})
    assert summary.failed == 1
    assert "duplicate 'upper'" in record["error"]["message"]


@pytest.mark.parametrize("streams", [True, False])
def test_a_server_sends_the_results_and_one_done(streams: bool, tmp_path: Path) -> None:
    lines = lines_of({"id": "a", "prompt": "Upper?", "stream": streams}, {"id": "b", "prompt": "U?"})
    events = served(tmp_path / "out", lines, upper())
    mine = [event for event in events if event["id"] == "a"]
    results = [
        event["delta"]["tool_result"]["result"] for event in mine if "tool_result" in event.get("delta", {})
    ]
    assert results == (["PEAR", "FIG"] if streams else [])
    (done,) = (event["done"] for event in mine if "done" in event)
    assert done["answer"] == "PEAR, FIG"
    assert [each["result"] for each in done["tool_results"]] == ["PEAR", "FIG"]


def test_a_request_is_cancelled_while_its_tool_runs(tmp_path: Path) -> None:
    hanging = Hanging()

    def lines() -> Iterator[Line]:
        yield Line(1, b'{"id": "a", "prompt": "Upper?"}')
        assert hanging.started.wait(10)
        yield Line(2, b'{"cancel": "a"}')

    (*_, last) = served(tmp_path / "out", lines(), Toolbox([hanging]))
    assert last["done"]["finish_reason"] == "cancelled"
    assert "stopped" in last["done"]["tool_results"][0]["result"]
