"""`ossctl run`: answers one prompt, once or several times, and runs the tool calls of an answer."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from ossctl.app.inference.client import Client
from ossctl.app.inference.defaults import sampling_record
from ossctl.app.inference.finish import AnswerFinish, answer_finish
from ossctl.app.inference.generation import Generation, RunningTotals
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, explain_crashes, load_model
from ossctl.app.inference.request import (
    GenerationSpec,
    check_schema,
    check_template_variables,
    schema_remarks,
    supported_reasoning,
)
from ossctl.app.inference.schema_check import misfit_of
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.run.progress import RunProgress
from ossctl.app.sessions.chat_settings import RunSettings
from ossctl.app.tools.rounds import ResultSpace, next_round, space_after, totals_after
from ossctl.app.tools.source import ToolOutcome, denied
from ossctl.app.tools.toolbox import Toolbox, ToolRunner, rounds_exhausted
from ossctl.dialect import Answer as Text
from ossctl.dialect import Event, Preamble, Reasoning, ToolCall
from ossctl.errors import ExitCode, RequestError, UsageError
from ossctl.planning.workload import Workload
from ossctl.storage.atomic import atomic_write

if TYPE_CHECKING:  # loads SQLite, which most runs do not wait for
    from ossctl.app.run.log import Earlier

SCHEMA = "ossctl.run/1"

_EXIT_CODES = {
    AnswerFinish.LENGTH: ExitCode.CUT,
    AnswerFinish.REPETITION: ExitCode.REPETITION,
    AnswerFinish.REFUSAL: ExitCode.REFUSAL,
    AnswerFinish.EMPTY: ExitCode.FAILED,
}


class RunView(Protocol):
    """Shows the progress of a run."""

    def answer(self, text: str) -> None:
        """Show a piece of the answer. Not called if there are several answers."""

    def reasoning(self, text: str) -> None:
        """Show a piece of the reasoning. Not called if there are several answers."""

    def remark(self, text: str) -> None:
        """Show a remark about how the model was loaded, or about the answer."""

    def may_run(self, call: ToolCall, question: str) -> bool:
        """Ask the user whether this call may run."""

    def ran(self, outcome: ToolOutcome) -> None:
        """Show the outcome of a call."""


@dataclass(frozen=True)
class RunAnswer:
    """A complete answer. Times are in seconds since the model was loaded."""

    generation: Generation
    spec: GenerationSpec
    first_token_seconds: float
    seconds: float

    @property
    def ending(self) -> AnswerFinish:
        return answer_finish(self.generation)

    @property
    def is_incomplete(self) -> bool:
        """Whether the answer should have a format, but ended before that was complete."""
        whole = (
            self.ending in (AnswerFinish.STOP, AnswerFinish.TOOL_CALLS)
            and not self.generation.stopped_by_string
        )
        conversation = self.spec.conversation
        return conversation.formatted and not whole

    @functools.cached_property
    def misfit(self) -> str:
        """How the answer breaks its schema, "" if it does not."""
        error = misfit_of(self.spec.conversation, self.generation)
        return error.message if error else ""

    @property
    def exit_code(self) -> ExitCode:
        if self.misfit:
            return ExitCode.FAILED
        return _EXIT_CODES.get(self.ending, ExitCode.CUT if self.is_incomplete else ExitCode.DONE)

    def record(self) -> dict[str, Any]:
        """The answer's fields of `--json`."""
        seconds = {"first_token": self.first_token_seconds, "total": self.seconds}
        return {
            **answer_fields(self.generation, self.ending),
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "seed": self.generation.request.sampling.seed,
        }


@dataclass(frozen=True)
class RunResult:
    """The answers of a run; `model` is the name of the model."""

    answers: tuple[RunAnswer, ...]
    model: str
    spec: GenerationSpec
    load_seconds: float

    @property
    def exit_code(self) -> ExitCode:
        """That of the first answer with a problem."""
        codes = (answer.exit_code for answer in self.answers)
        return next((code for code in codes if code), ExitCode.DONE)

    def record(self) -> dict[str, Any]:
        """The document of `--json`: the fields of the first answer, and `answers` if there are several."""
        conversation, sampling = self.spec.conversation, self.spec.sampling
        settings = {
            "reasoning_effort": conversation.effort,
            "date": conversation.date,
            "max_reasoning_tokens": conversation.max_reasoning_tokens,
            "think": conversation.think,
            "template_variables": conversation.template_variables or None,
            "max_tokens": self.spec.max_tokens,
            **sampling_record(sampling),
            "stop": self.spec.stops or None,
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
class RunRequest:
    """A prompt to answer `n` times. `title` is its question; `earlier` is what it continues."""

    spec: GenerationSpec
    settings: RunSettings
    n: int = 1
    tools: Toolbox = field(default_factory=Toolbox)
    title: str = ""
    earlier: "Earlier | None" = None


def run(
    request: RunRequest, model: Path, options: LoadOptions, view: RunView, progress: RunProgress
) -> RunResult:
    """Load `model` and answer the request. `progress` has what is generated, also if this raises.

    Raises ModelError, MemoryShortage, UsageError for a request that the model does not support, Interrupted.
    """
    started = monotonic()
    options = replace(options, parallel=request.n)
    prompt, answer = request.spec.likely_tokens
    workload = Workload(
        request_tokens=None if request.tools.runs_tools else request.spec.max_total_tokens,
        prompt_tokens=prompt,
        answer_tokens=answer,
    )
    explain_crashes("The answer is lost.", progress.keep)
    with (
        Interrupt() as interrupt,
        load_model(model, options, workload, interrupt, raw=request.settings.raw) as loaded,
    ):
        load_seconds = monotonic() - started
        progress.model = loaded.name
        for remark in (*loaded.remarks, *schema_remarks(request.spec.conversation.json_format)):
            view.remark(remark)
        spec = _with_reasoning_of(loaded, request)
        check_template_variables(spec.conversation.template_variables, loaded)
        check_schema(spec.conversation.json_format, loaded)
        with Client(loaded, interrupt) as client:
            try:
                with closing(request.tools):
                    loop = ToolLoop(client, interrupt, view, request.tools, progress)
                    answers = loop.run(spec, request.n)
                    progress.complete = True
            except RequestError as error:
                raise UsageError(error.message) from None
        return RunResult(answers, loaded.name, spec, load_seconds)


def answer_fields(generation: Generation, ending: AnswerFinish) -> dict[str, Any]:
    """The JSON fields of a complete generation. Usage and reasoning are those of all its rounds of calls."""
    totals = generation.totals
    return {
        "answer": generation.content,
        "reasoning": totals.reasoning_text,
        "tool_calls": [{"name": call.name, "arguments": call.arguments} for call in generation.calls],
        "tool_results": list(totals.tool_results),
        "finish_reason": ending,
        "recovered": list(generation.recovered),
        "usage": {
            "prompt_tokens": totals.prompt,
            "cached_tokens": totals.cached,
            "completion_tokens": totals.completion,
            "reasoning_tokens": totals.reasoning,
            **({"rejected_tokens": totals.rejected} if totals.rejected else {}),
            **totals.draft_usage(),
        },
    }


def save(text: str, path: Path) -> None:
    """Write an answer to a file, atomically. Raises OssctlError."""
    atomic_write(path, text.encode("utf-8", "replace"))


def _with_reasoning_of(model: LoadedModel, request: RunRequest) -> GenerationSpec:
    """Set the model's default effort, so that it is reported. Raises UsageError."""
    conversation = supported_reasoning(request.spec.conversation, model, request.settings.optional)
    effort = conversation.effort or model.dialect.default_effort
    return replace(request.spec, conversation=replace(conversation, effort=effort))


class ToolLoop:
    """Generates answers, shows them as they arrive, and runs the programs for their tool calls."""

    def __init__(
        self, client: Client, interrupt: Interrupt, view: RunView, tools: Toolbox, progress: RunProgress
    ) -> None:
        self._client = client
        self._interrupt = interrupt
        self._view = view
        self._tools = tools
        self._progress = progress
        self._started = monotonic()
        self._after_preamble = False

    def run(self, spec: GenerationSpec, n: int) -> tuple[RunAnswer, ...]:
        """Generate `n` answers with consecutive seeds, or a single one with its tool calls."""
        if n == 1:
            return (self._with_calls(spec),)
        samplings = map(spec.sampling.with_later_seed, range(n))
        return self._generate([replace(spec, sampling=sampling) for sampling in samplings])

    def _with_calls(self, spec: GenerationSpec) -> RunAnswer:
        """Generate, run the calls and generate again, until an answer has none that can be run."""
        earlier, max_rounds = RunningTotals(), self._tools.max_rounds
        with closing(self._tools.open()) as runner:
            for n_rounds in range(1, max_rounds + 1):
                (answer,) = self._generate([spec])
                answer.generation.earlier = earlier
                if not runner.can_run(answer.generation.calls, spec.conversation.tools):
                    return answer
                space = space_after(self._client.model, spec, answer.generation)
                outcomes = list(self._call(runner, answer.generation.calls, space))
                earlier = totals_after(answer.generation, outcomes)
                spec = next_round(spec, answer.generation, outcomes, may_call=n_rounds < max_rounds)
        self._view.remark(rounds_exhausted(max_rounds))
        (answer,) = self._generate([spec])
        answer.generation.earlier = earlier
        return answer

    def _call(
        self, runner: ToolRunner, calls: Sequence[ToolCall], space: ResultSpace
    ) -> Iterator[ToolOutcome]:
        for outcome in space.fit(runner.run(calls, self._view.may_run, self._interrupt.keep_going)):
            self._interrupt.check()
            if isinstance(outcome, ToolCall):
                continue
            if outcome.result != denied(outcome.call).result:
                self._view.ran(outcome)
            yield outcome

    def _generate(self, specs: Sequence[GenerationSpec]) -> tuple[RunAnswer, ...]:
        answers: dict[int, RunAnswer] = {}
        first: dict[int, float] = {}
        self._progress.begin(specs)
        for index, arrival in self._client.answers(specs):
            now = monotonic() - self._started
            first.setdefault(index, now)
            if isinstance(arrival, Generation):
                answers[index] = RunAnswer(arrival, specs[index], first[index], now)
                self._progress.finish(index, arrival)
                continue
            self._progress.follow(index, arrival)
            if len(specs) == 1:
                self._show(arrival)
        return tuple(answers[index] for index in range(len(specs)))

    def _show(self, event: Event) -> None:
        match event:
            case Reasoning(text):
                self._view.reasoning(text)
            case Preamble(text):
                self._after_preamble = True
                self._view.answer(text)
            case Text(text):
                separator = "\n\n" if self._after_preamble else ""  # as in `Generation.content`
                self._view.answer(separator + text)
                self._after_preamble = False
