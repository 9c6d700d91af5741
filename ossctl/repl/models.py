"""The model of a chat: loaded in the background, exchanged for another, loaded again after a failure."""

from collections.abc import Callable
from pathlib import Path

from ossctl.app.chat.background import BackgroundModel, ModelFile
from ossctl.app.chat.book import SessionModel
from ossctl.app.chat.talker import Talker
from ossctl.app.load_options import LoadOptions
from ossctl.errors import OssctlError

Choose = Callable[[str | None], ModelFile]


class Models:
    """At most one is loaded. `choose` finds out what a reference means, and may ask the user."""

    def __init__(self, first: ModelFile, options: LoadOptions, choose: Choose) -> None:
        self._options = options
        self._choose = choose
        self._changed: Callable[[], None] = lambda: None
        self._file = first
        self._model: BackgroundModel | None = None

    @property
    def name(self) -> str:
        """What the user calls it, in short."""
        return Path(self._file.reference or self._file.path).name.removesuffix(".gguf")

    @property
    def file(self) -> ModelFile:
        return self._file

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
        self._model = BackgroundModel(self._file, self._options, changed)

    def wait(self, seconds: float) -> bool:
        """Wait so long; whether it is settled."""
        return self._running().wait(seconds)

    def talker(self) -> Talker:
        """The loaded model, waited for; after a failure, loaded again. Raises what `load_model` does."""
        talker = self._running().talker()
        if talker.failed:
            self.close()
            talker = self._running().talker()
        return talker

    def session_model(self) -> SessionModel:
        """What a session remembers of it."""
        name = self.talker().model.name
        return SessionModel(self._file.reference or str(self._file.path), name, str(self._file.path))

    def exchange(self, reference: str) -> None:
        """Load another model instead. If that fails the former one comes back, and the error is raised."""
        former, self._file = self._file, self._choose(reference)
        self.close()
        try:
            self.talker()
        except OssctlError:
            self.close()
            self._file = former
            self._running()
            raise

    def close(self) -> None:
        """Free the model."""
        if self._model is not None:
            self._model.close()
            self._model = None

    def _running(self) -> BackgroundModel:
        if self._model is None:
            self._model = BackgroundModel(self._file, self._options, self._changed)
        return self._model
