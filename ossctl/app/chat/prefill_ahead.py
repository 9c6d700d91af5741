"""Prefills the known part of the next prompt while the user writes."""

from collections.abc import Callable, Sequence

import numpy as np

from ossctl.app.chat.history import UNSAVED
from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.dialect import Parser
from ossctl.engine.request import Request
from ossctl.runtime.base import Tokens


class PrefillAhead:
    """A chain of requests for 0 tokens, of which each extends the one before. Used by one thread."""

    def __init__(
        self,
        engine: EngineThread,
        make_parser: Callable[[Sequence[int]], Parser],
        next_id: Callable[[], str],
    ) -> None:
        self._engine = engine
        self._make_parser = make_parser
        self._next_id = next_id
        self._latest: Generation | None = None
        self._first: Generation | None = None  # of the chain that the next prompt extends

    @property
    def progress(self) -> tuple[int, int] | None:
        """(done, total) tokens of the running request; None if none is running."""
        latest = self._latest
        if latest is None or latest.finish is not None or latest.error is not None:
            return None
        return self._engine.num_computed_tokens(latest), len(latest.request.prompt)

    @property
    def computed(self) -> int:
        """Number of tokens that the latest request has in the cache while it is running."""
        return self._engine.num_computed_tokens(self._latest) if self._latest is not None else 0

    def start(self, prompt: Tokens, conversation: str, *, checkpoint: bool) -> None:
        """Prefill `prompt`, unless that is what the latest request does."""
        if self._latest is not None and np.array_equal(self._latest.request.prompt, prompt):
            return
        self.cancel()
        request = Request(
            self._next_id(),
            prompt,
            max_tokens=0,
            conversation=conversation,
            checkpoint=checkpoint,
            persist=conversation not in ("", UNSAVED),
        )
        self._latest = Generation(request, self._make_parser(prompt.tolist()))
        first = self._first
        longer = first is not None and len(prompt) > len(first.request.prompt)
        if first is None or not _extends(self._latest, first) or (checkpoint and longer):
            self._first = self._latest
        self._engine.submit(self._latest)

    def cancel_unless_extended_by(self, generation: Generation) -> None:
        """Stop, unless the prompt of `generation` continues what is being prefilled."""
        if self._latest is not None and not _extends(generation, self._latest):
            self.cancel()

    def cancel(self) -> None:
        """Stop the running request."""
        if self._latest is not None and self._latest.finish is None:
            self._engine.cancel(self._latest.request.id, at_once=True)
            if self._latest is self._first:
                self._first = None
        self._latest = None

    def consume(self, generation: Generation) -> int:
        """Number of prompt tokens that were prefilled for `generation`. The next chain starts anew."""
        first = self._first
        self._latest = self._first = None
        if first is None or first.finish is None or not _extends(generation, first):
            return 0
        return max(0, generation.cached_tokens - first.cached_tokens)


def _extends(generation: Generation, other: Generation) -> bool:
    prefix = other.request.prompt
    return np.array_equal(generation.request.prompt[: len(prefix)], prefix)
