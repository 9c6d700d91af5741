"""One asyncio event loop for all servers, on a thread of its own."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any, TypeVar

from ossctl.app.tools.source import POLL_SECONDS, KeepGoing

_T = TypeVar("_T")


class EventLoop:
    """Runs coroutines for other threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="mcp", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Start `work`. Cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Cancel what still runs, and end the thread."""
        self.submit(_cancel_others()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def result_while(keep_going: KeepGoing, running: Future[_T]) -> _T:
    """The result of what runs. Cancels it when the user stops it, and raises CancelledError."""
    while not wait([running], POLL_SECONDS).done:
        if not keep_going():
            running.cancel()
    return running.result()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
