"""Notices workers that freeze or are cut off while llama.cpp waits for them, which it would do for ever."""

import functools
import threading
import time

from ossctl.runtime.crash import crash_reporter
from ossctl.runtime.rpc import added_workers, ask_worker

_PERIOD = 2.0  # seconds between questions
_PATIENCE = 1.0  # seconds for each answer
_MISSES = 4  # questions in a row without an answer: about 12 seconds
_LONGEST_CALL = 600.0  # seconds, if a worker answers no questions at all


class WorkerWatch:
    """Ends the process if a worker is silent during a `with` block around a call of llama.cpp."""

    def __init__(self) -> None:
        self._since: float | None = None  # when the present call began, or was known to be alive
        self._started = False
        self._misses: dict[str, int] = {}  # of each worker that has ever answered

    def __enter__(self) -> None:
        self._since = time.monotonic()
        if not self._started and added_workers():
            self._started = True
            threading.Thread(target=self._run, name="watch over workers", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._since = None

    def note_progress(self) -> None:
        """Note that the present call is alive."""
        self._since = time.monotonic()

    def _run(self) -> None:
        while True:
            for address in added_workers():
                self._ask(address)
            time.sleep(_PERIOD)
            while self._since is None:
                self._misses = dict.fromkeys(self._misses, 0)
                time.sleep(_PERIOD)

    def _ask(self, address: str) -> None:
        if ask_worker(address, _PATIENCE) is not None:
            self._misses[address] = 0
        elif address in self._misses:
            self._misses[address] += 1
            if self._misses[address] >= _MISSES:
                crash_reporter().give_up(f"worker {address} has stopped responding")
        elif (since := self._since) is not None and time.monotonic() - since > _LONGEST_CALL:
            crash_reporter().give_up(
                f"worker {address} has not answered for {_LONGEST_CALL / 60:.0f} minutes"
            )


@functools.cache
def worker_watch() -> WorkerWatch:
    """The process's watch."""
    return WorkerWatch()
