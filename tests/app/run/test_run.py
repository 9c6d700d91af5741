"""Tool calls of `ossctl run`: programs run, results go back to the model, and the loop ends."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ossctl.app.inference.client import Client
from ossctl.app.inference.finish import AnswerFinish
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.run.progress import RunProgress
from ossctl.app.run.run import RunAnswer, ToolLoop
from ossctl.app.tools.command import ToolCommand, ToolCommands
from ossctl.app.tools.source import ToolOutcome
from ossctl.app.tools.toolbox import MAX_ROUNDS, Toolbox
from ossctl.dialect import Conversation, Message, Tool, ToolCall
from ossctl.engine.request import Sampling
from ossctl.harmony.dialect import HarmonyDialect
from tests.support.scripted_calls import NoGrammars, Replies, call, final
from tests.support.toy_harmony import TOY

UPPER = (sys.executable, "-c", "import json, sys; print(json.load(sys.stdin)['text'].upper())")


@dataclass
class Seen:
    """A `RunView` that remembers."""

    allow: bool = True
    answers: list[str] = field(default_factory=list)
    reasonings: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    outcomes: list[ToolOutcome] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def answer(self, text: str) -> None:
        self.answers.append(text)

    def reasoning(self, text: str) -> None:
        self.reasonings.append(text)

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def may_run(self, call: ToolCall, _question: str) -> bool:
        self.asked.append((call.name, call.arguments))
        return self.allow

    def ran(self, outcome: ToolOutcome) -> None:
        self.outcomes.append(outcome)


def answered(
    seen: Seen,
    replies: Sequence[str],
    commands: Mapping[str, Sequence[str]],
    seconds: float = 20.0,
    n_ctx: int = 4096,
) -> tuple[RunAnswer, Replies]:
    runner = Replies(replies=replies, n_seq=1, n_ctx_seq=n_ctx)
    dialect = HarmonyDialect(TOY, TOY.markers, NoGrammars())  # type: ignore[arg-type]
    model = LoadedModel("toy", runner, dialect, TOY.piece)
    programs = {name: ToolCommand(tuple(argv), seconds) for name, argv in commands.items()}
    tools = Toolbox([ToolCommands(tuple(map(Tool, programs)), programs)], [Tool("other")])
    conversation = Conversation((Message("user", "Upper case?"),), tools.offered)
    spec = GenerationSpec(conversation, 500, (), Sampling(temperature=0))
    with Interrupt() as interrupt, Client(model, interrupt) as client:
        (answer,) = ToolLoop(client, interrupt, seen, tools, RunProgress()).run(spec, 1)
    return answer, runner


def results_of(answer: RunAnswer) -> Sequence[Mapping[str, Any]]:
    return answer.generation.earlier.tool_results


def test_a_call_runs_its_program_and_the_result_becomes_the_answer() -> None:
    seen = Seen()
    answer, runner = answered(
        seen, [call("upper", '{"text":"pear"}'), final("It is PEAR.")], {"upper": UPPER}
    )
    assert (answer.ending, answer.generation.content) == (AnswerFinish.STOP, "It is PEAR.")
    assert seen.asked == [("upper", '{"text":"pear"}')]
    assert [(o["name"], o["result"], o["ok"]) for o in results_of(answer)] == [("upper", "PEAR", True)]
    assert answer.record()["tool_results"][0]["result"] == "PEAR"
    assert b"functions.upper to=assistant" in b"".join(map(TOY.piece, runner.tokens(0)))


def test_the_second_round_prefills_only_new_tokens() -> None:
    _, runner = answered(Seen(), [call("upper", '{"text":"pear"}'), final("PEAR")], {"upper": UPPER})
    prompts = [chunk for chunks in runner.decoded for chunk in chunks if len(chunk.tokens) > 1]
    assert len(prompts[1].tokens) < len(prompts[0].tokens)


def test_the_model_can_correct_arguments_that_are_not_json() -> None:
    seen = Seen()
    replies = [call("upper", '{"text":'), call("upper", '{"text":"fig"}'), final("FIG")]
    answer, _ = answered(seen, replies, {"upper": UPPER})
    assert [result["ok"] for result in results_of(answer)] == [False, True]
    assert answer.generation.content == "FIG"


def test_a_call_that_the_user_denies_is_reported_to_the_model_and_not_run() -> None:
    seen = Seen(allow=False)
    answer, _ = answered(seen, [call("upper", '{"text":"fig"}'), final("I may not.")], {"upper": UPPER})
    assert answer.generation.content == "I may not."
    assert [result["result"] for result in results_of(answer)] == ["The user does not allow this call."]
    assert not seen.outcomes


def test_a_hanging_program_is_killed_and_the_model_still_answers() -> None:
    hanging = (sys.executable, "-c", "import time; time.sleep(60)")
    answer, _ = answered(Seen(), [call("upper", "{}"), final("No luck.")], {"upper": hanging}, 0.3)
    assert "more than 0.3 s" in results_of(answer)[0]["result"]
    assert answer.generation.content == "No luck."


def test_a_result_that_does_not_fit_into_the_context_is_an_error_for_the_model() -> None:
    seen = Seen()
    large = (sys.executable, "-c", "print('x' * 5_000)")
    answer, _ = answered(seen, [call("large", "{}"), final("Too much.")], {"large": large})
    assert answer.generation.content == "Too much."
    assert "does not fit" in results_of(answer)[0]["result"]
    assert seen.outcomes[0].result == results_of(answer)[0]["result"]


def test_a_call_without_a_program_is_the_answer() -> None:
    answer, _ = answered(Seen(), [call("other", '{"a":1}')], {"upper": UPPER})
    assert answer.ending is AnswerFinish.TOOL_CALLS
    assert answer.record()["tool_calls"] == [{"name": "other", "arguments": '{"a":1}'}]
    assert not results_of(answer)


def test_a_model_that_never_stops_calling_has_to_answer_with_the_last_result() -> None:
    seen = Seen()
    replies = [*[call("upper", '{"text":"fig"}')] * MAX_ROUNDS, final("FIG")]
    answer, runner = answered(seen, replies, {"upper": UPPER}, n_ctx=8192)
    assert len(results_of(answer)) == MAX_ROUNDS
    assert (answer.ending, answer.generation.content) == (AnswerFinish.STOP, "FIG")
    prompt = b"".join(map(TOY.piece, runner.tokens(0)))
    assert prompt.count(b"functions.upper to=assistant") == MAX_ROUNDS
    assert prompt.count(b"} // namespace functions") == 1  # declared as before: the prefix stays cached
    assert len(seen.remarks) == 1


@pytest.mark.parametrize("preamble", ["", "<|channel|>commentary<|message|>Look:<|end|><|start|>assistant"])
def test_pieces_of_an_answer_are_the_answer(preamble: str) -> None:
    seen = Seen()
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    answer, _ = answered(seen, [thought + preamble + final("Yes.")], {})
    assert "".join(seen.answers) == answer.generation.content
    assert "".join(seen.reasonings) == "Hm."
