"""Loads the model of a chat on a thread, so that the prompt appears at once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from threading import Event, Thread
from typing import TYPE_CHECKING

from ossctl.app.inference.interrupt import POLL_SECONDS, Interrupt
from ossctl.app.placement.load_options import LoadOptions
from ossctl.planning.workload import Workload

if TYPE_CHECKING:
    from ossctl.app.chat.model_session import ModelSession

# Sessions whose cells stay in the cache. They share it; each adds a sliding window's cells.
_CONVERSATIONS = 4
_CRASH_NOTE = "Your messages are saved: `ossctl chat -c` continues."
_CLOSE_SECONDS = 10.0  # how long a load or a decode may take to notice that it should stop


@dataclass(frozen=True)
class ModelFile:
    """A model to load. `reference` is the user's name for it; `warning` is shown before the first answer."""

    reference: str
    path: Path
    warning: str = ""


class BackgroundLoad:
    """Loads a model once it is started.

    `find` locates the file and `on_settled` is called when the model is loaded or has failed, both on the
    loading thread. The thread closes `previous` first.
    """

    def __init__(
        self,
        find: Callable[[], ModelFile],
        options: LoadOptions,
        on_settled: Callable[[], None],
        previous: "BackgroundLoad | None" = None,
    ) -> None:
        self.file: ModelFile | None = None
        self._find = find
        self._options = options
        self._on_settled = on_settled
        self._previous = previous
        self._interrupt = Interrupt()  # never entered; the load checks its flag
        self._settled, self._closing = Event(), Event()
        self._session: ModelSession | None = None
        self._error: Exception | None = None
        self._thread = Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def settled(self) -> bool:
        """Whether the model is loaded or has failed to load."""
        return self._settled.is_set()

    @property
    def error(self) -> Exception | None:
        """Why the model could not be loaded."""
        return self._error

    @property
    def is_over(self) -> bool:
        """Whether the model was loaded and has failed since, or Ctrl-C kept this load from starting."""
        session = self._session
        failed = session is not None and session.failed
        return failed or self._thread.ident is None or self._closing.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for at most `seconds`; return whether the load is settled."""
        return self._settled.wait(seconds)

    def session(self) -> "ModelSession":
        """Wait for the model. Raises what `load_model` raises."""
        while not self.wait(POLL_SECONDS):
            pass
        if self._error is not None:
            raise self._error
        if self._session is None:
            raise AssertionError("settled, but neither loaded nor failed")
        return self._session

    def close(self) -> None:
        """Stop loading or decoding, and free the model."""
        self._interrupt.signum = SIGINT
        if self._session is not None:
            self._session.model.runner.abort()
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)
        elif self._previous is not None:
            self._previous.close()

    def _run(self) -> None:
        workload = Workload(conversations=_CONVERSATIONS)
        try:
            if self._previous is not None:
                self._previous.close()
                self._previous = None
            from ossctl.app.chat.model_session import ModelSession  # loads llama.cpp's library
            from ossctl.app.inference.loading import explain_crashes, load_model

            explain_crashes(_CRASH_NOTE)
            self.file = self._find()
            with (
                load_model(self.file.path, self._options, workload, self._interrupt) as loaded,
                ModelSession(loaded) as session,
            ):
                self._session = session
                self._settle()
                self._closing.wait()
                self._session = None
        except Exception as error:  # noqa: BLE001 (raised again by `session`)
            self._error = error
            self._settle()

    def _settle(self) -> None:
        self._settled.set()
        self._on_settled()
