"""SIGINT and SIGTERM as a flag to check, instead of an exception at any point."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Self, TypeVar

from ossctl.errors import Interrupted

POLL_SECONDS = 0.1  # Windows handles no signal while the main thread waits without a limit

_T = TypeVar("_T")


class Interrupt:
    """While entered, notes the first SIGINT or SIGTERM and calls `on_signal`.

    Then it restores the previous handlers, so that a second Ctrl-C ends what still hangs.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.on_signal: Callable[[], None] = lambda: None
        self._previous: dict[int, Any] = {}

    def keep_going(self) -> bool:
        """Whether there has been no signal."""
        return self.signum == 0

    def check(self, hint: str = "") -> None:
        """Raise Interrupted if there has been a signal."""
        if self.signum:
            raise Interrupted(self.signum, hint)

    @contextmanager
    def killing(self, kill: Callable[[], None]) -> Iterator[None]:
        """While entered, a signal calls `kill`; one that came before calls it now."""
        self.on_signal = kill
        try:
            if not self.keep_going():
                kill()
            yield
        finally:
            self.on_signal = lambda: None

    def __enter__(self) -> Self:
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self.signum = signum
        self._restore()
        self.on_signal()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())


def next_of(queue: "SimpleQueue[_T]") -> _T:
    """Wait for the next of `queue` on the main thread, where signals are handled meanwhile."""
    while True:
        with suppress(Empty):
            return queue.get(timeout=POLL_SECONDS)
