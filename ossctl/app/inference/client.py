"""Requests to a loaded model from one thread, with their events as they arrive."""

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Self

from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt, next_of
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import GenerationSpec, prepare_generation
from ossctl.app.inference.retries import retry_of
from ossctl.dialect import Event

# The index of a request, with an event of its answer or the complete Generation.
Arrival = tuple[int, Event | Generation]


class Client:
    """Runs requests in parallel and yields their events. A signal ends it with Interrupted."""

    def __init__(self, model: LoadedModel, interrupt: Interrupt) -> None:
        self.model = model
        self._interrupt = interrupt
        self._arrivals: SimpleQueue[Arrival | Generation | Exception | None] = SimpleQueue()
        self._engine = EngineThread(model.runner, self._arrivals.put, model.disk, drafts=model.drafts)

    def answers(self, specs: Sequence[GenerationSpec]) -> Iterator[Arrival]:
        """Run all `specs` until each is answered; the last arrival of each is its Generation.

        Answers that do not fit their schemas are sampled again.

        Raises RequestError for a spec that can't be answered, OssctlError if the model fails, Interrupted.
        """
        running = len(specs)
        for index, spec in enumerate(specs):
            self._interrupt.check()
            self._engine.submit(self._prepare(index, spec))
        while running:
            arrival = next_of(self._arrivals)
            self._interrupt.check()
            if isinstance(arrival, Exception):
                raise arrival
            if isinstance(arrival, Generation):
                if arrival.error is not None:
                    raise arrival.error
                index = int(arrival.request.id)
                again = retry_of(self.model, specs[index], arrival, step=len(specs))
                if again is not None:
                    self._engine.submit(again)
                    continue
                running -= 1
                yield index, arrival
            elif arrival is not None:
                yield arrival

    def _prepare(self, index: int, spec: GenerationSpec) -> Generation:
        def on_event(event: Event) -> None:
            self._arrivals.put((index, event))

        return prepare_generation(self.model, spec, str(index), on_event)

    def __enter__(self) -> Self:
        self._interrupt.on_signal = lambda: self._arrivals.put(None)
        self._engine.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._engine.__exit__(*exception)
