"""The thread that reads requests, so that nothing else waits for the next line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Semaphore, Thread

from ossctl.app.wire.lines import Line
from ossctl.errors import OssctlError, UsageError
from ossctl.storage.compression import READ_ERRORS, describe_read_error


@dataclass(frozen=True)
class EndOfInput:
    """The last that a reader delivers; `error` says why it ended too early."""

    error: OssctlError | None = None


class Reader:
    """Delivers lines on its own thread, then how the input ended.

    At most `ahead` lines are on their way at any time: whoever is finished with one says `done`. The thread
    may be waiting for more input when all else has ended.
    """

    def __init__(
        self,
        lines: Iterator[Line],
        deliver: Callable[[Line | EndOfInput | Exception], None],
        ahead: int,
    ) -> None:
        self._lines = lines
        self._deliver = deliver
        self._places = Semaphore(ahead)
        self._thread = Thread(target=self._read, name="reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def done(self) -> None:
        """A line that was delivered has been dealt with: there is a place for another."""
        self._places.release()

    def _read(self) -> None:
        end = EndOfInput()
        try:
            for line in self._lines:
                self._places.acquire()
                self._deliver(line)
        except OssctlError as error:
            end = EndOfInput(error)
        except READ_ERRORS as error:
            message = f"cannot read the input any further: {describe_read_error(error)}"
            end = EndOfInput(UsageError(message, "What was read before is answered."))
        except Exception as error:  # noqa: BLE001 (a bug: it must not vanish with the thread)
            self._deliver(error)
        self._deliver(end)
