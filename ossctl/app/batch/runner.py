"""Runs the lines of an input through the engine and writes their records.

The engine's thread generates, and delivers what it has to the queue of `LineRunner`.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace

from ossctl.app.batch.line_runner import Arrival, Codec, LineRunner, Rules
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.prefix_queue import PrefixQueue
from ossctl.app.inference.request import GenerationSpec, prepare_choices, prepare_generation
from ossctl.app.inference.retries import retry_of
from ossctl.app.inference.schema_check import incomplete, misfit_of
from ossctl.app.tools.rounds import fitting, next_round, totals_after
from ossctl.app.tools.workers import Called, ToolWorkers
from ossctl.app.wire.chat_completions import Task
from ossctl.app.wire.lines import Line
from ossctl.engine.request import FinishReason
from ossctl.errors import RequestError
from ossctl.storage.journal import Journal

_SUBMITTED_PER_SEQUENCE = 2  # the others wait in the prefix queue


@dataclass
class _Pending:
    """A line whose choices are being generated; `index` counts the lines of the input from 0.

    `specs` are what the choices answer now: the task, and the results of their calls.
    """

    index: int
    line: Line
    task: Task
    choices: list[Generation]
    specs: list[GenerationSpec] = field(init=False)
    unfinished: int = field(init=False)

    def __post_init__(self) -> None:
        self.specs = [self.task] * len(self.choices)
        self.unfinished = len(self.choices)


class BatchRunner(LineRunner[Task]):
    """Runs a batch of conversations: generates answers, a line's choices together."""

    def __init__(
        self,
        model: LoadedModel,
        codec: Codec[Task],
        journal: Journal,
        watch: Callable[[BatchSummary], None],
        rules: Rules,
    ) -> None:
        super().__init__(codec, journal, watch, rules)
        self.n_seq = model.runner.n_seq
        self.n_ctx = model.runner.n_ctx_seq
        self._model = model
        self._engine: EngineThread | None = None
        self._queue = PrefixQueue()
        self._pending: dict[str, _Pending] = {}  # by generation id
        self._submitted = 0

    def _answer_all(self, interrupt: Interrupt) -> None:
        model, isolated = self._model, self._rules.deterministic
        with (
            EngineThread(
                model.runner, self._arrivals.put, model.disk, isolated=isolated, drafts=model.drafts
            ) as engine,
            closing(ToolWorkers(self._rules.tools, self._arrivals.put)) as self._tools,
        ):
            self._engine = engine
            try:
                self._keep_engine_busy(engine, interrupt, _SUBMITTED_PER_SEQUENCE * self.n_seq)
            finally:
                self._engine = None

    def _keep_engine_busy(self, engine: EngineThread, interrupt: Interrupt, max_submitted: int) -> None:
        reading = True
        while reading or self._pending:
            arrival = self._next_arrival()
            interrupt.check(self._resume_hint())
            reading = self._handle(arrival) and reading
            while len(self._queue) and self._submitted < max_submitted:
                for generation in self._queue.pop():
                    engine.submit(generation)
                    self._submitted += 1
            self._report_if_due()

    def _submit(self, index: int, line: Line, request: Task) -> None:
        choices = prepare_choices(self._model, request, request.n, str(line.number))
        pending = _Pending(index, line, request, choices)
        self._pending.update((generation.request.id, pending) for generation in choices)
        self._queue.push(choices)

    def _report_progress(self) -> None:
        summary, engine = self.summary, self._engine
        ages = dict(engine.running()) if engine else {}
        running = {name: self._pending[name] for name in ages if name in self._pending}
        summary.running = len(running)
        answering = [
            choice
            for name, pending in running.items()
            for choice in pending.choices
            if choice.request.id == name and choice.tokens
        ]
        summary.running_tokens = sum(choice.completion_tokens for choice in answering)
        summary.running_prompt_tokens = sum(len(choice.request.prompt) for choice in answering)
        slowest = max(running, key=lambda name: ages[name], default=None)
        summary.slowest = (running[slowest].task.custom_id, ages[slowest]) if slowest else None
        super()._report_progress()

    def _handle(self, arrival: Arrival) -> bool:
        if isinstance(arrival, Generation):
            self._finish(arrival)
            return True
        if isinstance(arrival, Called):
            self._continue(arrival)
            return True
        return super()._handle(arrival)

    def _finish(self, generation: Generation) -> None:
        """Sample a finished choice again, have its calls run, or end it."""
        name = generation.request.id
        pending = self._pending[name]
        self._submitted -= 1
        spec = pending.specs[pending.choices.index(generation)]
        if (again := retry_of(self._model, spec, generation, step=pending.task.n)) is not None:
            self._replace(pending, generation, again)
        elif generation.error or not self._tools.submit(name, generation, spec.conversation.tools):
            self._end_choice(name)

    def _continue(self, called: Called) -> None:
        """Generate the next answer of a choice, with the results of its calls."""
        generation = called.generation
        name = generation.request.id
        rounds, pending = self._tools.received(name), self._pending[name]
        choice = pending.choices.index(generation)
        spec = pending.specs[choice]
        outcomes = fitting(self._model, spec, generation, called.outcomes)
        spec = next_round(spec, generation, outcomes, may_call=rounds.may_call)
        spec = replace(spec, sampling=generation.request.sampling)
        try:
            again = prepare_generation(self._model, spec, name)
        except RequestError as error:
            generation.error = error
            self._end_choice(name)
            return
        again.earlier = totals_after(generation, outcomes)
        pending.specs[choice] = spec
        self._replace(pending, generation, again)

    def _replace(self, pending: _Pending, generation: Generation, again: Generation) -> None:
        pending.choices[pending.choices.index(generation)] = again
        self._queue.push([again])

    def _end_choice(self, name: str) -> None:
        """End a choice, and with the last one its line."""
        self._tools.end(name)
        pending = self._pending.pop(name)
        pending.unfinished -= 1
        if pending.unfinished:
            return
        task, line = pending.task, pending.line
        self.summary.add(pending.choices)
        error = _error_of(pending)
        if error is not None:
            self._fail(pending.index, line, task.custom_id, task.request_key.failure, error)
            return
        self.summary.done += 1
        self.summary.cut_in_reasoning += any(choice.cut_in_reasoning for choice in pending.choices)
        self.summary.recovered += any(choice.recovered for choice in pending.choices)
        self.summary.retried += any(choice.attempts > 1 for choice in pending.choices)
        self._write(pending.index, lambda: self._records.answer(line, task, pending.choices))


def _error_of(pending: _Pending) -> RequestError | None:
    """The first error among the choices, if any: one of them fails the whole line."""
    n_choices = len(pending.choices)
    for number, (spec, choice) in enumerate(zip(pending.specs, pending.choices, strict=True), 1):
        error = choice.error or incomplete(spec.conversation, choice) or _repetition(choice)
        error = error or misfit_of(spec.conversation, choice)
        if error is not None:
            which = f"choice {number} of {n_choices}: " if n_choices > 1 else ""
            return RequestError(f"{which}{error.message}", error.code)
    return None


def _repetition(generation: Generation) -> RequestError | None:
    if generation.finish is not FinishReason.REPETITION:
        return None
    n_tokens = generation.completion_tokens
    return RequestError(f"the model repeated itself and was stopped after {n_tokens:,} tokens", "repetition")
