"""A loaded model that answers one question at a time, and can be stopped in the middle."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Self

import numpy as np

from ossctl.app.chat.events import CallsWaiting, Prefilling
from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import GenerationSpec, prepare_generation
from ossctl.dialect import Event
from ossctl.engine.request import Request
from ossctl.runtime.base import Tokens

_TICK = 0.05  # seconds without news after which whoever listens may draw
_PATIENCE = 0.3  # seconds to wait for a decode that is to stop; a GPU ends it in its own time


@dataclass(frozen=True)
class _News:
    request_id: str
    event: Event


Talk = Event | Prefilling | CallsWaiting


class Talker:
    """One thread asks, and follows the answer; any other, or a signal handler, may stop it."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._arrivals: SimpleQueue[_News | Generation | Exception | None] = SimpleQueue()
        self._worker = EngineThread(model.runner, self._deliver)
        self._numbers = count(1)
        self._stop = False
        self._ahead: Generation | None = None  # what was computed last while nobody waited
        self._first: Generation | None = None  # the one that it goes on from, with which that began
        self.failed = False  # the model has; it answers no more

    @property
    def n_ctx(self) -> int:
        """Tokens of a conversation, with its answer."""
        return self.model.runner.n_ctx_seq

    def pose(self, question: GenerationSpec, conversation: str = "") -> Generation:
        """An answer to be followed, not begun yet. Raises RequestError if it cannot be asked."""
        name = self._next_name()
        return prepare_generation(
            self.model,
            question,
            name,
            lambda event: self._arrivals.put(_News(name, event)),
            conversation,
        )

    def read_ahead(self, prompt: Tokens, conversation: str = "", *, returnable: bool = True) -> None:
        """Compute `prompt` while nobody waits: an answer to what begins with it comes the sooner.

        It gives way to everything else. `returnable` is `Request.checkpoint`; what is not is the beginning of
        a message, and goes on from what is.
        """
        if self._ahead is not None and np.array_equal(self._ahead.request.prompt, prompt):
            return
        self._give_way()
        name = self._next_name()
        request = Request(name, prompt, max_tokens=0, conversation=conversation, checkpoint=returnable)
        self._ahead = Generation(request, self.model.dialect.parser(prompt.tolist()))
        first = self._first
        longer = first is not None and len(prompt) > len(first.request.prompt)
        if first is None or not _begins_with(self._ahead, first) or (returnable and longer):
            self._first = self._ahead
        self._worker.submit(self._ahead)

    @property
    def ahead(self) -> tuple[int, int] | None:
        """(done, all) tokens of what is being computed ahead; None if nothing is."""
        ahead = self._ahead
        if ahead is None or ahead.finish is not None or ahead.error is not None:
            return None
        return self._worker.num_computed_tokens(ahead), len(ahead.request.prompt)

    def follow(self, generation: Generation) -> Iterator[Talk]:
        """Begin the answer, and tell what comes until `generation` is complete.

        If it was stopped while the prompt was computed, it may never be: then its `finish` stays None.
        Raises RequestError if the engine cannot answer it, OssctlError if the model failed.
        """
        self._stop = False
        ahead = self._ahead
        if ahead is not None and not _begins_with(generation, ahead):
            self._give_way()
            ahead = None
        self._worker.submit(generation)
        try:
            yield from self._news(generation, ahead)
        finally:
            if generation.tokens:
                generation.read_ahead = self._read_for(generation)
                self._ahead = self._first = None
            if generation.finish is None:
                self._cancel(generation)

    def stop(self) -> None:
        """End the answer that is being followed, at its next token. Does nothing without one."""
        self._stop = True
        self._arrivals.put(None)

    def _news(self, generation: Generation, ahead: Generation | None) -> Iterator[Talk]:
        deadline = None
        total = len(generation.request.prompt)
        while deadline is None or generation.tokens or monotonic() < deadline:
            try:
                arrival = self._arrivals.get(timeout=_TICK)
            except Empty:
                done = max(
                    self._worker.num_computed_tokens(each) for each in (generation, ahead or generation)
                )
                yield CallsWaiting() if generation.tokens else Prefilling(done, total)
                arrival = None
            if self._stop and deadline is None:
                self._cancel(generation)
                deadline = monotonic() + _PATIENCE
            if isinstance(arrival, Exception):
                self.failed = True
                raise arrival
            if arrival is generation:
                if generation.error is not None:
                    raise generation.error
                return
            if isinstance(arrival, _News) and arrival.request_id == generation.request.id:
                yield arrival.event

    def _deliver(self, arrival: Generation | Exception) -> None:
        """Nobody waits for what is read ahead."""
        if isinstance(arrival, Exception) or arrival.request.max_tokens:
            self._arrivals.put(arrival)

    def _cancel(self, generation: Generation) -> None:
        self._worker.cancel(generation.request.id, at_once=not generation.tokens)

    def _give_way(self) -> None:
        """Stop computing ahead."""
        if self._ahead is not None and self._ahead.finish is None:
            self._cancel(self._ahead)
            if self._ahead is self._first:
                self._first = None
        self._ahead = None

    def _read_for(self, generation: Generation) -> int:
        """Tokens of its prompt that were computed ahead."""
        first = self._first
        if first is None or first.finish is None or not _begins_with(generation, first):
            return 0
        return max(0, generation.cached_tokens - first.cached_tokens)

    def _next_name(self) -> str:
        return str(next(self._numbers))

    def __enter__(self) -> Self:
        self._worker.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._give_way()
        self._worker.__exit__(*exception)


def _begins_with(generation: Generation, ahead: Generation) -> bool:
    start = ahead.request.prompt
    return np.array_equal(generation.request.prompt[: len(start)], start)
