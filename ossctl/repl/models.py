"""The model of a chat: loaded in the background, exchanged for another, loaded again after a failure."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.app.chat.background import BackgroundModel, ModelFile
from ossctl.app.chat.session_log import SessionModel
from ossctl.app.placement.load_options import LoadOptions
from ossctl.errors import OssctlError

if TYPE_CHECKING:
    from ossctl.app.chat.model_session import Talker

Find = Callable[[str | None], ModelFile]


class Models:
    """At most one is loaded. `find` says what a reference means; None is the default."""

    def __init__(self, reference: str | None, options: LoadOptions, find: Find) -> None:
        self._reference = reference
        self._options = options
        self._find = find
        self._changed: Callable[[], None] = lambda: None
        self._model: BackgroundModel | None = None

    @property
    def name(self) -> str:
        """What the user calls it, in short."""
        reference = self._reference
        if reference is None and self._model is not None and self._model.file is not None:
            reference = self._model.file.reference or str(self._model.file.path)
        return Path(reference).name.removesuffix(".gguf") if reference else "the model"

    @property
    def settled(self) -> bool:
        """Whether it is loaded, or could not be."""
        return self._model is not None and self._model.settled

    @property
    def error(self) -> Exception | None:
        """Why it could not be loaded."""
        return self._model.error if self._model else None

    def begin(self, changed: Callable[[], None]) -> None:
        """Start to load; `changed` is called, on another thread, when that is over."""
        self._changed = changed
        self._running()

    def wait(self, seconds: float) -> bool:
        """Wait so long; whether it is settled."""
        return self._running().wait(seconds)

    def talker(self) -> "Talker":
        """The loaded model, waited for; after a failure, loaded again. Raises what `load_model` does."""
        talker = self._running().talker()
        if talker.failed:
            self.close()
            talker = self._running().talker()
        return talker

    def described(self) -> tuple[SessionModel, str]:
        """What a session remembers of the loaded model, and a warning or ""."""
        name, file = self.talker().model.name, self._running().file
        if file is None:
            raise AssertionError("it is loaded, so there is a file")
        return SessionModel(file.reference or str(file.path), name, str(file.path)), file.warning

    def exchange(self, reference: str) -> None:
        """Load another model instead. If that fails the former one comes back, and the error is raised."""
        self._find(reference)
        former, self._reference = self._reference, reference
        self.close()
        try:
            self.talker()
        except OssctlError:
            self.close()
            self._reference = former
            self._running()
            raise

    def close(self) -> None:
        """Free the model."""
        if self._model is not None:
            self._model.close()
            self._model = None

    def _running(self) -> BackgroundModel:
        if self._model is None:
            find = partial(self._find, self._reference)
            self._model = BackgroundModel(find, self._options, self._changed)
        return self._model
