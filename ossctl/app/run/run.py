"""`ossctl run`: one question, one answer or a few, and the calls in between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from ossctl.app.inference.client import Client
from ossctl.app.inference.finish import AnswerFinish, ending_of
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, explain_crashes, load_model
from ossctl.app.inference.request import GenerationSpec, refuse_unsupported
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.tools.command import MAX_ROUNDS, ToolCommand, ToolOutcome
from ossctl.dialect import Answer as Text
from ossctl.dialect import Event, Message, Preamble, Reasoning, ToolCall
from ossctl.errors import ExitCode, RequestError, UsageError
from ossctl.planning.workload import Workload
from ossctl.storage.atomic import atomic_write

SCHEMA = "ossctl.run/1"

_EXIT_CODES = {
    AnswerFinish.LENGTH: ExitCode.CUT,
    AnswerFinish.REPETITION: ExitCode.REPETITION,
    AnswerFinish.REFUSAL: ExitCode.REFUSAL,
    AnswerFinish.EMPTY: ExitCode.FAILED,
}


class RunView(Protocol):
    """Who sees what happens, as it happens."""

    def answer(self, text: str) -> None:
        """A piece of the answer; where there is more than one, none is shown as it comes."""

    def reasoning(self, text: str) -> None:
        """A piece of the reasoning before it."""

    def remark(self, text: str) -> None:
        """Something to know of how the model was loaded."""

    def may_run(self, name: str, arguments: str) -> bool:
        """Whether the user lets this call's program run."""

    def ran(self, outcome: ToolOutcome) -> None:
        """It has ended."""


@dataclass(frozen=True)
class RunAnswer:
    """An answer, complete, with the calls that were made for it on the way. Times in seconds."""

    generation: Generation
    question: GenerationSpec
    made: tuple[ToolOutcome, ...]
    first_token_seconds: float
    seconds: float

    @property
    def ending(self) -> AnswerFinish:
        return ending_of(self.generation)

    @property
    def is_half_json(self) -> bool:
        """Whether it was to be JSON and ended before that was complete."""
        whole = (
            self.ending in (AnswerFinish.STOP, AnswerFinish.TOOL_CALLS)
            and not self.generation.stopped_by_string
        )
        return self.question.conversation.json_format is not None and not whole

    @property
    def exit_code(self) -> ExitCode:
        """What a script gets to know of it."""
        return _EXIT_CODES.get(self.ending, ExitCode.CUT if self.is_half_json else ExitCode.DONE)

    def record(self) -> dict[str, Any]:
        """For `--json`."""
        seconds = {"first_token": self.first_token_seconds, "total": self.seconds}
        return {
            **answer_fields(self.generation, self.ending),
            "tool_results": [
                {"name": o.call.name, "arguments": o.call.arguments, "result": o.result, "ok": o.ok}
                for o in self.made
            ],
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "seed": self.question.sampling.seed,
        }


@dataclass(frozen=True)
class RunResult:
    """All that came of a run."""

    answers: tuple[RunAnswer, ...]
    model: str
    question: GenerationSpec
    load_seconds: float

    @property
    def exit_code(self) -> ExitCode:
        """That of the first answer that is not as it should be."""
        codes = (answer.exit_code for answer in self.answers)
        return next((code for code in codes if code), ExitCode.DONE)

    def record(self) -> dict[str, Any]:
        """The document of `--json`: the first answer's fields, and all answers if there are several."""
        conversation, sampling = self.question.conversation, self.question.sampling
        settings = {
            "reasoning_effort": conversation.effort,
            "date": conversation.date,
            "max_reasoning_tokens": conversation.max_reasoning_tokens,
            "max_tokens": self.question.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "stop": self.question.stops or None,
        }
        first, *others = records = [answer.record() for answer in self.answers]
        return {
            "schema": SCHEMA,
            **first,
            "model": self.model,
            "settings": {name: value for name, value in settings.items() if value is not None},
            "load_seconds": round(self.load_seconds, 3),
            **({"answers": records} if others else {}),
        }


@dataclass(frozen=True)
class Asked:
    """What a run asks for. `commands` are the programs behind the conversation's tools, by name."""

    question: GenerationSpec
    n: int = 1
    raw: bool = False
    commands: Mapping[str, ToolCommand] = field(default_factory=dict)


def run(asked: Asked, model: Path, options: LoadOptions, view: RunView) -> RunResult:
    """Load `model` and ask it.

    Raises ModelError, MemoryShortage, UsageError for what this model can't be asked, Interrupted.
    """
    started = monotonic()
    options = replace(options, parallel=asked.n)
    reads, writes = asked.question.likely_tokens
    workload = Workload(
        tokens=None if asked.commands else asked.question.most_tokens, reads=reads, writes=writes
    )
    explain_crashes("The answer is lost.")
    with Interrupt() as interrupt, load_model(model, options, workload, interrupt, raw=asked.raw) as loaded:
        load_seconds = monotonic() - started
        for remark in loaded.remarks:
            view.remark(remark)
        question = _fitted(asked.question, loaded)
        with Client(loaded, interrupt) as asking:
            try:
                answers = Answering(asking, interrupt, view, asked.commands).answers(question, asked.n)
            except RequestError as error:
                raise UsageError(error.message) from None
        return RunResult(answers, loaded.name, question, load_seconds)


def answer_fields(generation: Generation, ending: AnswerFinish) -> dict[str, Any]:
    """What a complete generation brought, for JSON."""
    return {
        "answer": generation.content,
        "reasoning": generation.reasoning,
        "tool_calls": [{"name": call.name, "arguments": call.arguments} for call in generation.calls],
        "finish_reason": ending,
        "recovered": list(generation.recovered),
        "usage": {
            "prompt_tokens": len(generation.request.prompt),
            "cached_tokens": generation.cached_tokens,
            "completion_tokens": generation.completion_tokens,
            "reasoning_tokens": generation.reasoning_tokens,
        },
    }


def save(text: str, path: Path) -> None:
    """Put an answer into a file, whole or not at all. Raises OssctlError."""
    atomic_write(path, text.encode("utf-8", "replace"))


def _fitted(question: GenerationSpec, model: LoadedModel) -> GenerationSpec:
    """With the model's own default of effort, so that it can be told."""
    conversation = question.conversation
    refuse_unsupported(conversation.effort, conversation.max_reasoning_tokens, model)
    effort = conversation.effort or model.dialect.default_effort
    return replace(question, conversation=replace(conversation, effort=effort))


class Answering:
    """Asks, shows what comes, and makes the calls that have a program."""

    def __init__(
        self, asking: Client, interrupt: Interrupt, view: RunView, commands: Mapping[str, ToolCommand]
    ) -> None:
        self._asking = asking
        self._interrupt = interrupt
        self._view = view
        self._commands = commands
        self._started = monotonic()
        self._apart = False  # whether something was said before the answer

    def answers(self, question: GenerationSpec, n: int) -> tuple[RunAnswer, ...]:
        """`n` answers, each with a seed of its own; a single one with the calls that it makes."""
        seed = question.sampling.seed
        if n == 1:
            return (self._with_calls(question),)
        questions = [
            replace(question, sampling=replace(question.sampling, seed=seed + place)) for place in range(n)
        ]
        return self._all(questions)

    def _with_calls(self, question: GenerationSpec) -> RunAnswer:
        made: list[ToolOutcome] = []
        while True:
            (answer,) = self._all([question])
            calls = answer.generation.calls
            if len(made) >= MAX_ROUNDS or not calls or any(call.name not in self._commands for call in calls):
                return replace(answer, made=tuple(made))
            outcomes = [self._call(call) for call in calls]
            made += outcomes
            question = _continued(question, answer.generation, outcomes)

    def _call(self, call: ToolCall) -> ToolOutcome:
        command = self._commands[call.name]
        if not self._view.may_run(call.name, call.arguments):
            return ToolOutcome(call, "The user does not allow this call.", ok=False)
        outcome = command.run(call, lambda: self._interrupt.clear)
        self._interrupt.check()
        self._view.ran(outcome)
        return outcome

    def _all(self, questions: Sequence[GenerationSpec]) -> tuple[RunAnswer, ...]:
        answers: dict[int, RunAnswer] = {}
        first: dict[int, float] = {}
        for place, news in self._asking.answers(questions):
            now = monotonic() - self._started
            first.setdefault(place, now)
            if isinstance(news, Generation):
                answers[place] = RunAnswer(news, questions[place], (), first[place], now)
            elif len(questions) == 1:
                self._show(news)
        return tuple(answers[place] for place in range(len(questions)))

    def _show(self, event: Event) -> None:
        match event:
            case Reasoning(text):
                self._view.reasoning(text)
            case Preamble(text):
                self._apart = True
                self._view.answer(text)
            case Text(text):
                self._view.answer(f"\n\n{text}" if self._apart else text)  # as in `Generation.content`
                self._apart = False


def _continued(
    question: GenerationSpec, generation: Generation, outcomes: Sequence[ToolOutcome]
) -> GenerationSpec:
    """The question with the calls and what they brought: the next round's."""
    said = Message(
        "assistant",
        generation.content,
        generation.reasoning,
        tuple(generation.calls),
        token_ids=tuple(generation.tokens),
    )
    results = [Message("tool", outcome.result, tool=outcome.call.name) for outcome in outcomes]
    conversation = question.conversation
    messages = (*conversation.messages, said, *results)
    return replace(question, conversation=replace(conversation, messages=messages))
