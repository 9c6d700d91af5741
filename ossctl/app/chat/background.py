"""A model loaded on a thread of its own, so that the prompt is there at once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from threading import Event as Signal
from threading import Thread
from typing import TYPE_CHECKING

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.placement.load_options import LoadOptions
from ossctl.planning.workload import Workload

if TYPE_CHECKING:
    from ossctl.app.chat.model_session import Talker

# Sessions whose cells are kept at once: they share one cache, and each takes a window's cells more.
_CONVERSATIONS = 4
_SAVED = "What was said is saved: `ossctl chat -c` goes on."
_PATIENCE = 10.0  # seconds for a load or a decode to notice that it is not wanted any more


@dataclass(frozen=True)
class ModelFile:
    """A model to load: `reference` is what the user calls it, `warning` what he should know of it first."""

    reference: str
    path: Path
    warning: str = ""


class BackgroundModel:
    """Begins to load at once.

    `find` gives the file, and `changed` is called when it is loaded or has failed; both on the other thread.
    """

    def __init__(
        self, find: Callable[[], ModelFile], options: LoadOptions, changed: Callable[[], None]
    ) -> None:
        self.file: ModelFile | None = None
        self._find = find
        self._options = options
        self._changed = changed
        self._interrupt = Interrupt()  # never entered: the load looks at its flag
        self._ready, self._closing = Signal(), Signal()
        self._talker: Talker | None = None
        self._error: Exception | None = None
        self._thread = Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def settled(self) -> bool:
        """Whether it is loaded or has failed."""
        return self._ready.is_set()

    @property
    def error(self) -> Exception | None:
        """Why it could not be loaded."""
        return self._error

    def wait(self, seconds: float) -> bool:
        """Wait so long; whether it is settled."""
        return self._ready.wait(seconds)

    def talker(self) -> "Talker":
        """The loaded model, waited for. Raises what `load_model` raises."""
        self._ready.wait()
        if self._error is not None:
            raise self._error
        if self._talker is None:
            raise AssertionError("settled, and neither loaded nor failed")
        return self._talker

    def close(self) -> None:
        """Stop what it is doing and free it."""
        self._interrupt.signum = SIGINT
        if self._talker is not None:
            self._talker.model.runner.abort()
        self._closing.set()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        workload = Workload(conversations=_CONVERSATIONS)
        try:
            from ossctl.app.chat.model_session import Talker  # llama.cpp's library takes its time
            from ossctl.app.inference.loading import explain_crashes, load_model

            explain_crashes(_SAVED)
            self.file = self._find()
            with (
                load_model(self.file.path, self._options, workload, self._interrupt) as loaded,
                Talker(loaded) as talker,
            ):
                self._talker = talker
                self._settle()
                self._closing.wait()
                self._talker = None
        except Exception as error:  # noqa: BLE001 (raised again where it is waited for)
            self._error = error
            self._settle()

    def _settle(self) -> None:
        self._ready.set()
        self._changed()
