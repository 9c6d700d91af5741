"""Reads requests on a thread of its own, so that nothing else blocks on input."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Semaphore, Thread

from ossctl.app.wire.lines import Line
from ossctl.errors import OssctlError, UsageError
from ossctl.storage.compression import READ_ERRORS, describe_read_error


@dataclass(frozen=True)
class EndOfInput:
    """The last delivery. If the input could not be read to its end, `error` says why."""

    error: OssctlError | None = None


class Reader:
    """Passes lines to `deliver` from its own thread, and then EndOfInput.

    At most `ahead` lines are in flight: the receiver calls `done` when it has finished one. The thread is a
    daemon, because it may still be blocked on input when the process ends.
    """

    def __init__(
        self,
        lines: Iterator[Line],
        deliver: Callable[[Line | EndOfInput | Exception], None],
        ahead: int,
    ) -> None:
        self._lines = lines
        self._deliver = deliver
        self._in_flight = Semaphore(ahead)
        self._thread = Thread(target=self._read, name="reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def done(self) -> None:
        """Report a line as finished, from any thread, so that another one can be delivered."""
        self._in_flight.release()

    def _read(self) -> None:
        end = EndOfInput()
        try:
            for line in self._lines:
                self._in_flight.acquire()
                self._deliver(line)
        except OssctlError as error:
            end = EndOfInput(error)
        except READ_ERRORS as error:
            message = f"cannot read the rest of the input: {describe_read_error(error)}"
            end = EndOfInput(UsageError(message, "All requests before that were answered."))
        except Exception as error:  # noqa: BLE001 (a bug: raised by the receiver)
            self._deliver(error)
        self._deliver(end)
