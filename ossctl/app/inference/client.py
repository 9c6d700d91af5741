"""Client a loaded model from one thread, with its answers as they come."""

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Self

from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import GenerationSpec, pose
from ossctl.dialect import Event

# Of which question, by its place: what came, and at last the whole.
News = tuple[int, Event | Generation]


class Client:
    """Answers some questions at once, and more after those. A signal ends it with Interrupted."""

    def __init__(self, model: LoadedModel, interrupt: Interrupt) -> None:
        self._model = model
        self._interrupt = interrupt
        self._arrivals: SimpleQueue[News | Generation | Exception | None] = SimpleQueue()
        self._worker = EngineThread(model.runner, self._arrivals.put)

    def answers(self, questions: Sequence[GenerationSpec]) -> Iterator[News]:
        """Everything that comes until all `questions` are answered; a Generation is the last of its own.

        Raises RequestError for a question that can't be asked, OssctlError if the model fails, Interrupted.
        """
        running = len(questions)
        for place, question in enumerate(questions):
            self._worker.submit(self._posed(place, question))
        while running:
            arrival = self._arrivals.get()
            self._interrupt.check()
            if isinstance(arrival, Exception):
                raise arrival
            if isinstance(arrival, Generation):
                running -= 1
                if arrival.error is not None:
                    raise arrival.error
                yield int(arrival.request.id), arrival
            elif arrival is not None:
                yield arrival

    def _posed(self, place: int, question: GenerationSpec) -> Generation:
        return pose(self._model, question, str(place), lambda event: self._arrivals.put((place, event)))

    def __enter__(self) -> Self:
        self._interrupt.on_signal = lambda: self._arrivals.put(None)
        self._worker.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._worker.__exit__(*exception)
