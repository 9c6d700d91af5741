"""Answers many prompts at once with one loaded model, tools included."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Self

from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.prefix_queue import PrefixQueue
from ossctl.app.inference.request import GenerationSpec, prepare_generation
from ossctl.app.inference.retries import retry_of
from ossctl.app.inference.schema_check import misfit_of
from ossctl.app.tools.rounds import fitting, next_round, totals_after
from ossctl.app.tools.toolbox import Toolbox
from ossctl.app.tools.workers import Called, ToolWorkers
from ossctl.errors import RequestError

_TICK_SECONDS = 0.2  # between reports of the progress
_MIN_PREPARED = 64  # enough to find common prefixes
_PREPARED_PER_SEQUENCE = 4
_SUBMITTED_PER_SEQUENCE = 2  # the others wait in the prefix queue


@dataclass(frozen=True)
class Finished:
    """The answer to a request, or why there is none. Times are in seconds."""

    generation: Generation | None
    first_token_seconds: float = 0.0
    seconds: float = 0.0
    error: RequestError | None = None


@dataclass
class _Running:
    """A request that is being answered; the times are of its earlier rounds of calls."""

    index: int
    spec: GenerationSpec
    first_token_seconds: float | None = None
    seconds: float = 0.0

    def add(self, generation: Generation) -> None:
        if self.first_token_seconds is None:
            self.first_token_seconds = generation.first_token_seconds
        self.seconds += generation.seconds


OnFinished = Callable[[int, Finished], None]
OnTick = Callable[[int], None]  # tokens of the unfinished answers so far


class Answering:
    """Answers lists of requests, one list after the other, while it is entered."""

    def __init__(self, model: LoadedModel, tools: Toolbox, interrupt: Interrupt) -> None:
        self._model = model
        self._interrupt = interrupt
        self._arrivals: SimpleQueue[Generation | Called | Exception | None] = SimpleQueue()
        self._engine = EngineThread(model.runner, self._arrivals.put, model.disk, drafts=model.drafts)
        self._workers = ToolWorkers(tools, self._arrivals.put)
        self._running: dict[str, _Running] = {}
        self._queue = PrefixQueue()
        self._submitted: dict[str, Generation] = {}
        self._n_prepared = 0

    def answer(self, specs: Sequence[GenerationSpec], finished: OnFinished, tick: OnTick) -> None:
        """Answer all of them, as many at once as the model was loaded for.

        `finished` gets the index of each as soon as it is answered. Raises OssctlError if the model fails,
        and Interrupted.
        """
        waiting = deque(enumerate(specs))
        due = 0.0
        while self._keep_busy(waiting, finished):
            self._handle(self._next(), finished)
            if monotonic() >= due:
                due = monotonic() + _TICK_SECONDS
                tick(sum(len(each.tokens) for each in self._submitted.values()))

    def _keep_busy(self, waiting: deque[tuple[int, GenerationSpec]], finished: OnFinished) -> bool:
        """Prepare and submit enough requests for all sequences; False if all are answered."""
        n_seq = self._model.runner.n_seq
        while waiting and len(self._running) < max(_MIN_PREPARED, _PREPARED_PER_SEQUENCE * n_seq):
            self._prepare(*waiting.popleft(), finished)
        while len(self._queue) and len(self._submitted) < _SUBMITTED_PER_SEQUENCE * n_seq:
            for generation in self._queue.pop():
                self._submit(generation)
        return bool(self._running)

    def _prepare(self, index: int, spec: GenerationSpec, finished: OnFinished) -> None:
        self._n_prepared += 1
        name = str(self._n_prepared)
        try:
            generation = prepare_generation(self._model, spec, name)
        except RequestError as error:
            finished(index, Finished(None, error=error))
            return
        self._running[name] = _Running(index, spec)
        self._queue.push([generation])

    def _next(self) -> Generation | Called | None:
        try:
            arrival = self._arrivals.get(timeout=_TICK_SECONDS)
        except Empty:
            arrival = None
        self._interrupt.check()
        if isinstance(arrival, Exception):
            raise arrival
        return arrival

    def _handle(self, arrival: Generation | Called | None, finished: OnFinished) -> None:
        if isinstance(arrival, Generation):
            self._finish(arrival, finished)
        elif isinstance(arrival, Called):
            self._continue(arrival, finished)

    def _submit(self, generation: Generation) -> None:
        self._submitted[generation.request.id] = generation
        self._engine.submit(generation)

    def _finish(self, generation: Generation, finished: OnFinished) -> None:
        """Sample an answer again, have its calls run, or end it."""
        name = generation.request.id
        running = self._running[name]
        del self._submitted[name]
        running.add(generation)
        again = retry_of(self._model, running.spec, generation)
        if again is not None:
            self._submit(again)
        elif generation.error or not self._workers.submit(name, generation, running.spec.conversation.tools):
            self._end(
                generation, generation.error or misfit_of(running.spec.conversation, generation), finished
            )

    def _continue(self, called: Called, finished: OnFinished) -> None:
        """Generate the next answer, with the results of its calls."""
        generation = called.generation
        name = generation.request.id
        rounds, running = self._workers.received(name), self._running[name]
        outcomes = fitting(self._model, running.spec, generation, called.outcomes)
        running.seconds += sum(outcome.seconds for outcome in outcomes)
        spec = next_round(running.spec, generation, outcomes, may_call=rounds.may_call)
        running.spec = replace(spec, sampling=generation.request.sampling)
        try:
            again = prepare_generation(self._model, running.spec, name)
        except RequestError as error:
            self._end(generation, error, finished)
            return
        again.earlier = totals_after(generation, outcomes)
        self._submit(again)

    def _end(self, generation: Generation, error: RequestError | None, finished: OnFinished) -> None:
        name = generation.request.id
        self._workers.end(name)
        running = self._running.pop(name)
        first = running.first_token_seconds or 0.0
        finished(running.index, Finished(generation, first, running.seconds, error))

    def __enter__(self) -> Self:
        self._interrupt.on_signal = lambda: self._arrivals.put(None)
        self._engine.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        with closing(self._workers):
            self._engine.__exit__(*exception)
