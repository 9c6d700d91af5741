"""Answers of one engine for the coroutines of any event loop."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from threading import Lock
from typing import Any, Self

import anyio
from anyio.lowlevel import current_token
from anyio.to_thread import run_sync

from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import GenerationSpec, prepare_choices, prepare_generation
from ossctl.app.inference.retries import retry_of
from ossctl.app.tools.rounds import fitting, next_round, totals_after
from ossctl.app.tools.source import ToolOutcome
from ossctl.app.tools.toolbox import Toolbox, ToolRunner
from ossctl.app.wire.chat_completions import Task
from ossctl.dialect import Conversation, ToolCall


@dataclass
class Choice:
    """A complete answer. `spec` is what it answers: the request of `prompt_tokens`, with results of calls.

    `seconds` is the time of its generations, and of calls between them, without waiting for a sequence.
    """

    spec: GenerationSpec
    generation: Generation
    prompt_tokens: int
    seconds: float = 0.0


class AsyncEngine:
    """The engine of a loaded model. Coroutines await answers, which it generates together.

    A coroutine that is cancelled cancels its request.
    """

    def __init__(self, model: LoadedModel, *, isolated: bool = False) -> None:
        """`isolated` is as in `Engine`."""
        self.model = model
        self._engine = EngineThread(
            model.runner, self._deliver, model.disk, isolated=isolated, drafts=model.drafts
        )
        self._waiting: dict[str, _Waiting] = {}
        self._failure: Exception | None = None
        self._ids = count()
        self._preparing = Lock()  # held while the model renders, which it cannot once closed
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        self._parts.enter_context(self._engine)
        return self

    def __exit__(self, *exception: object) -> None:
        with self._preparing:
            self._fail(RuntimeError("the model is closed"))
        self._parts.close()

    def rendered(self, conversation: Conversation, *, raw: bool = False) -> list[int]:
        """The tokens of a prompt, or of a `raw` text. Raises RequestError, or why the engine has ended."""
        with self._open():
            return self.model.dialect_of(raw=raw).render(conversation)

    def running(self) -> list[str]:
        """The ids of the requests that are being generated."""
        return [name for name, _ in self._engine.running()]

    async def answers(self, task: Task, tools: Toolbox) -> Sequence[Choice]:
        """All choices of `task`; calls to functions of `tools` run, and their results continue the answer.

        Raises RequestError for a task that cannot be answered, OssctlError if the model fails.
        """
        generations = await run_sync(self._prepare, task)
        choices = [Choice(task, each, len(each.request.prompt)) for each in generations]
        if len(choices) == 1:
            await self._complete(choices[0], tools, 1)
        else:
            with _one_error():
                async with anyio.create_task_group() as group:
                    for choice in choices:
                        group.start_soon(self._complete, choice, tools, task.n)
        return choices

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Keep the model open. Raises why the engine has ended."""
        with self._preparing:
            if self._failure is not None:
                raise self._failure
            yield

    def _prepare(self, task: Task) -> list[Generation]:
        with self._open():
            return prepare_choices(self.model, task, task.n, str(next(self._ids)))

    async def _complete(self, choice: Choice, tools: Toolbox, n_choices: int) -> None:
        calls = _Calls(tools.open())
        try:
            while True:
                generation = await self._generated(choice.generation)
                choice.seconds += generation.seconds
                again = retry_of(self.model, choice.spec, generation, step=n_choices)
                if again is not None:
                    choice.generation = again
                elif calls.can_run(choice):
                    outcomes = await calls.run(generation.calls)
                    choice.seconds += sum(outcome.seconds for outcome in outcomes)
                    await run_sync(self._continue, choice, outcomes, calls)
                else:
                    return
        finally:
            await calls.close()

    def _continue(self, choice: Choice, outcomes: Sequence[ToolOutcome], calls: "_Calls") -> None:
        """Prepare the next answer, after the results of calls."""
        generation = choice.generation
        with self._open():
            outcomes = fitting(self.model, choice.spec, generation, outcomes)
            spec = next_round(choice.spec, generation, outcomes, may_call=calls.may_call)
            choice.spec = replace(spec, sampling=generation.request.sampling)
            choice.generation = prepare_generation(self.model, choice.spec, generation.request.id)
        choice.generation.earlier = totals_after(generation, outcomes)

    async def _generated(self, generation: Generation) -> Generation:
        """Have the engine generate an answer. Raises its error."""
        name = generation.request.id
        waiting = self._waiting[name] = _Waiting(_caller_of_loop())
        try:
            if self._failure is None:
                self._engine.submit(generation)
                await waiting.done.wait()
        except BaseException:
            self._engine.cancel(name)
            raise
        finally:
            del self._waiting[name]
        error = self._failure if generation.finish is None else None
        if error := generation.error or error:
            raise error
        return generation

    def _deliver(self, arrival: Generation | Exception) -> None:
        """Wake who waits for a generation, on the engine's thread."""
        if isinstance(arrival, Exception):
            self._fail(arrival)
        elif (waiting := self._waiting.get(arrival.request.id)) is not None:
            waiting.wake()

    def _fail(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        for waiting in list(self._waiting.values()):
            waiting.wake()


@dataclass(frozen=True)
class _Waiting:
    """A coroutine that waits; `call_soon` has its event loop call a function, from any thread."""

    call_soon: Callable[[Callable[[], object]], object]
    done: anyio.Event = field(default_factory=anyio.Event)

    def wake(self) -> None:
        with suppress(RuntimeError):  # the loop has ended, and the coroutine with it
            self.call_soon(self.done.set)


def _caller_of_loop() -> Callable[[Callable[[], object]], object]:
    loop: Any = current_token().native_token
    call_soon: Callable[[Callable[[], object]], object] = getattr(loop, "run_sync_soon", None) or (  # Trio's
        loop.call_soon_threadsafe
    )
    return call_soon


class _Calls:
    """The calls of one answer that run here, beside the event loop."""

    def __init__(self, runner: ToolRunner) -> None:
        self._runner = runner
        self._rounds = 0
        self._going = True
        self._lock = Lock()  # a runner is for one thread at a time

    @property
    def may_call(self) -> bool:
        """Whether the model may call functions once more."""
        return self._rounds < self._runner.max_rounds

    def can_run(self, choice: Choice) -> bool:
        """Whether the answer has calls that run here."""
        return self.may_call and self._runner.can_run(choice.generation.calls, choice.spec.conversation.tools)

    async def run(self, calls: Sequence[ToolCall]) -> tuple[ToolOutcome, ...]:
        """Run `calls`; those of a coroutine that is cancelled end soon after it."""
        self._rounds += 1
        return await run_sync(self._run, calls, abandon_on_cancel=True)

    async def close(self) -> None:
        """End the calls, and what they have started."""
        self._going = False
        if self._rounds:
            with anyio.CancelScope(shield=True):
                await run_sync(self._close)

    def _run(self, calls: Sequence[ToolCall]) -> tuple[ToolOutcome, ...]:
        with self._lock:
            results = self._runner.run(calls, lambda _call, _question: True, lambda: self._going)
            return tuple(result for result in results if isinstance(result, ToolOutcome))

    def _close(self) -> None:
        with self._lock:
            self._runner.close()


@contextmanager
def _one_error() -> Iterator[None]:
    """Raise the first of the errors of a group in its place."""
    try:
        yield
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None
