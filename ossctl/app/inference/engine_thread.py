"""The thread of the engine, so that I/O and signals never wait for a decode.

What it shares with other threads:

- Its inbox, and the queue behind `deliver`, which are thread-safe.
- Submitted generations. Only this thread changes one until it is delivered; others may read its `tokens`,
  `finish` and `error`, which can be a step old.
- `running` and `num_computed_tokens`, which read the engine's lists in single operations of the interpreter.
- The flag of `Runner.abort`, a byte that llama.cpp polls.
- The vocabulary, whose caches only ever gain entries; the renderer's cache, which has a lock.
- llama.cpp's log, which keeps its reports per thread.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Self

from ossctl.app.inference.generation import Generation
from ossctl.engine.drafts import DraftOptions
from ossctl.engine.engine import Engine
from ossctl.engine.prefix_disk import PrefixDisk
from ossctl.engine.request import Failed, Output, Prefilled
from ossctl.errors import OssctlError, RequestError
from ossctl.runtime.base import DecodeAborted, DecodeFailed, Runner

_IDLE_SECONDS = 2.0  # from the last request until the cache is written to disk

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Cancel:
    request_id: str


class EngineThread:
    """Runs generations on a thread of its own and delivers each when it has ended.

    `deliver` is called on that thread with a Generation whose `finish` or `error` is set, or with the
    exception that ended the thread. Cancelled generations are delivered as well.
    """

    def __init__(
        self,
        runner: Runner,
        deliver: Callable[[Generation | Exception], None],
        disk: PrefixDisk | None = None,
        *,
        isolated: bool = False,
        drafts: DraftOptions | None = None,
    ) -> None:
        """`disk`, `isolated` and `drafts` are as in `Engine`."""
        self._runner = runner
        self._engine = Engine(runner, disk, isolated=isolated, drafts=drafts)
        self._deliver = deliver
        self._inbox: SimpleQueue[Generation | _Cancel | None] = SimpleQueue()
        self._live: dict[str, Generation] = {}
        self._ending = False
        self._thread = Thread(target=self._run, name="engine", daemon=True)

    def submit(self, generation: Generation) -> None:
        """Queue a generation, from any thread."""
        self._inbox.put(generation)

    def cancel(self, request_id: str, *, at_once: bool = False) -> None:
        """Cancel a generation after the current step, from any thread. Does nothing if it has ended.

        `at_once` aborts that step, which takes long in a prefill; other generations repeat their part of it.
        """
        self._inbox.put(_Cancel(request_id))
        if at_once:
            self._runner.abort()

    def num_computed_tokens(self, generation: Generation) -> int:
        """Tokens of a running generation that are in the cache, from any thread."""
        return self._engine.num_computed_tokens(generation.request.id)

    def running(self) -> list[tuple[str, float]]:
        """The ids of running requests and the seconds since each was admitted, from any thread."""
        return self._engine.running()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """End the thread after its current step; after an exception, abort that step."""
        if kind is not None:
            self._ending = True
            self._runner.abort()
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._handle_inbox():
                for output in self._step():
                    self._receive(output)
            while not self._ending and self._engine.save(ending=True):
                pass
            _log.info("%s", self._engine.stats)
        except DecodeFailed as error:
            hint = "Try a smaller --parallel or --ctx, which need less memory."
            self._deliver(OssctlError(f"llama.cpp failed to decode: {error}", hint))
        except Exception as error:  # noqa: BLE001 (a bug: don't lose it with the thread)
            self._deliver(error)

    def _step(self) -> list[Output]:
        try:
            return self._engine.step()
        except DecodeAborted:
            if self._ending:
                raise
            self._runner.resume()
            return []

    def _handle_inbox(self) -> bool:
        """Submit and cancel as asked, blocking while the engine is idle; False to end the thread."""
        while True:
            try:
                generation = self._next()
            except Empty:
                return True
            if generation is None:
                return False
            if isinstance(generation, _Cancel):
                self._cancel(generation.request_id)
            else:
                self._submit(generation)

    def _next(self) -> Generation | _Cancel | None:
        """The next of the inbox. While the engine is idle, write to disk what it has computed, and wait.

        Raises Empty while the engine is busy.
        """
        if self._engine.busy:
            return self._inbox.get(block=False)
        while True:
            try:
                return self._inbox.get(timeout=_IDLE_SECONDS)
            except Empty:
                if not self._engine.save():
                    return self._inbox.get()

    def _submit(self, generation: Generation) -> None:
        try:
            self._engine.submit(generation.request)
        except RequestError as error:
            self._fail(generation, error)
        else:
            self._live[generation.request.id] = generation

    def _cancel(self, request_id: str) -> None:
        generation = self._live.pop(request_id, None)
        if generation is not None:
            self._engine.cancel(request_id)
            generation.cancel()
            self._deliver(generation)

    def _receive(self, output: Output) -> None:
        generation = self._live.get(output.id)
        if generation is None:
            return  # a stop string ended it, and this token was forced in the same step
        if isinstance(output, Failed):
            del self._live[output.id]
            self._fail(generation, RequestError(output.reason, code=output.code))
            return
        if isinstance(output, Prefilled):
            generation.finish_prefill(output)
        else:
            generation.feed(output)
        if generation.finish is not None:
            self._engine.cancel(output.id)  # the engine does not know of stop strings
            del self._live[output.id]
            self._deliver(generation)

    def _fail(self, generation: Generation, error: RequestError) -> None:
        generation.error = error
        self._deliver(generation)
