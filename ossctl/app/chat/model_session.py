"""A loaded model that answers one request at a time and can be stopped at any token."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Self

from ossctl.app.chat.events import Prefilling, Tick
from ossctl.app.chat.history import UNSAVED
from ossctl.app.chat.prefill_ahead import PrefillAhead
from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import GenerationSpec, prepare_generation
from ossctl.dialect import Conversation, Dialect, Event, Parser
from ossctl.runtime.base import Tokens

_TICK_SECONDS = 0.05
_STOP_SECONDS = 0.3  # how long to wait for a running prefill to stop; a GPU may not notice an abort


@dataclass(frozen=True)
class _Arrival:
    request_id: str
    event: Event


StreamEvent = Event | Prefilling | Tick


class ModelSession:
    """Used by one thread; only `stop` may be called from others and from signal handlers.

    A submitted generation belongs to the engine's thread until that delivers it. Until then this thread only
    reads its `tokens`, `finish` and `error`.
    """

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.failed = False  # the engine has ended with an error: no more answers
        self.cells = 0  # of the cache, for the conversation's latest prompt and answer
        self.n_prefilled_ahead = 0  # prompt tokens of the latest answer that were prefilled ahead
        self._arrivals: SimpleQueue[_Arrival | Generation | Exception | None] = SimpleQueue()
        self._engine = EngineThread(model.runner, self._deliver, model.disk, drafts=model.drafts)
        self._request_numbers = count(1)
        self._ahead = PrefillAhead(self._engine, self._parser_of_no_answer, self._next_id)
        self._stop = False

    def _parser_of_no_answer(self, prompt: Sequence[int]) -> Parser:
        return self.dialect.parser(prompt, Conversation(()))

    @property
    def n_ctx(self) -> int:
        """Tokens of a conversation, the answer included."""
        return self.model.runner.n_ctx_seq

    @property
    def dialect(self) -> Dialect:
        return self.model.dialect

    @property
    def prefill_progress(self) -> tuple[int, int] | None:
        """(done, total) tokens of the prompt that is being prefilled ahead, if there is one."""
        return self._ahead.progress

    def prepare(self, spec: GenerationSpec, conversation: str = "") -> Generation:
        """The generation for `spec`, to be streamed. Raises RequestError if the model cannot take it."""
        request_id = self._next_id()

        def on_event(event: Event) -> None:
            self._arrivals.put(_Arrival(request_id, event))

        persist = conversation not in ("", UNSAVED)
        spec = replace(spec, persist=persist)
        return prepare_generation(self.model, spec, request_id, on_event, conversation)

    def prefill_ahead(self, prompt: Tokens, conversation: str = "", *, checkpoint: bool = True) -> None:
        """Start to prefill `prompt`, so that the answer to a prompt with this prefix starts sooner.

        A prompt that extends the current one continues it; any other cancels it. `checkpoint` is as in
        `Request`: False for the start of a message, which may still change.
        """
        self.cells = len(prompt)
        self._ahead.start(prompt, conversation, checkpoint=checkpoint)

    def stream(self, generation: Generation) -> Generator[StreamEvent]:
        """Submit `generation` and yield its events until it is complete.

        If it is stopped during its prefill, its `finish` may stay None. Raises RequestError if the engine
        rejects it, and the engine's own error if that fails.
        """
        self._stop = False
        self._ahead.cancel_unless_extended_by(generation)
        self._engine.submit(generation)
        try:
            with closing(self._events(generation)) as events:
                yield from events
        finally:
            if generation.request.conversation:
                self.cells = len(generation.request.prompt) + len(generation.tokens)
            if generation.tokens:
                self.n_prefilled_ahead = self._ahead.consume(generation)
            if generation.finish is None:
                self._cancel(generation)

    def stop(self) -> None:
        """Stop the streamed generation at its next token, if there is one."""
        self._stop = True
        self._arrivals.put(None)

    def _events(self, generation: Generation) -> Generator[StreamEvent]:
        deadline = None
        while deadline is None or generation.tokens or monotonic() < deadline:
            try:
                arrival = self._arrivals.get(timeout=_TICK_SECONDS)
            except Empty:
                yield Tick() if generation.tokens else self._prefilling(generation)
                arrival = None
            if self._stop and deadline is None:
                self._cancel(generation)
                deadline = monotonic() + _STOP_SECONDS
            if isinstance(arrival, Exception):
                self.failed = True
                raise arrival
            if arrival is generation:
                if generation.error is not None:
                    raise generation.error
                return
            if isinstance(arrival, _Arrival) and arrival.request_id == generation.request.id:
                yield arrival.event

    def _prefilling(self, generation: Generation) -> Prefilling:
        done = max(self._engine.num_computed_tokens(generation), self._ahead.computed)
        return Prefilling(done, len(generation.request.prompt))

    def _deliver(self, arrival: Generation | Exception) -> None:
        """Called on the engine's thread. Nothing waits for what is prefilled ahead."""
        if isinstance(arrival, Exception) or arrival.request.max_tokens:
            self._arrivals.put(arrival)

    def _cancel(self, generation: Generation) -> None:
        self._engine.cancel(generation.request.id, at_once=not generation.tokens)

    def _next_id(self) -> str:
        return str(next(self._request_numbers))

    def __enter__(self) -> Self:
        self._engine.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ahead.cancel()
        self._engine.__exit__(*exception)
