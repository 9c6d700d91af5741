"""The model of a chat: loaded in the background, replaced by another, reloaded after a failure."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.app.chat.background_load import BackgroundLoad, ModelFile
from ossctl.app.placement.load_options import ChatTemplate, LoadOptions
from ossctl.app.sessions.session_log import SessionModel

if TYPE_CHECKING:
    from ossctl.app.chat.model_session import ModelSession

Find = Callable[[str | None], ModelFile]


class ChatModel:
    """At most one model is loaded. `find` resolves a reference, or None, to a file.

    `on_settled` is called on the loading thread when a load has ended or failed.
    """

    def __init__(self, reference: str | None, options: LoadOptions, find: Find) -> None:
        self.on_settled: Callable[[], None] = lambda: None
        self._reference = reference
        self._options = options
        self._find = find
        self._load: BackgroundLoad | None = None

    @property
    def name(self) -> str:
        """The short form of the user's name for the model."""
        reference = self._reference
        if reference is None and self._load is not None and self._load.file is not None:
            reference = self._load.file.reference or str(self._load.file.path)
        return Path(reference).name.removesuffix(".gguf") if reference else "the model"

    @property
    def template(self) -> ChatTemplate | None:
        """The chat template that is used instead of the model's own."""
        return self._options.template

    @property
    def settled(self) -> bool:
        """Whether the model is loaded or has failed to load."""
        return self._load is not None and self._load.settled

    @property
    def error(self) -> Exception | None:
        """Why the model could not be loaded."""
        return self._load.error if self._load else None

    @property
    def needs_load(self) -> bool:
        """Whether no load has been started, or the loaded model has failed since."""
        return self._load is None or self._load.is_over

    def start_load(self) -> None:
        """Load the model on another thread, which frees the current one first."""
        find = partial(self._find, self._reference)
        self._load = BackgroundLoad(find, self._options, self.on_settled, self._load)
        self._load.start()

    def wait(self, seconds: float) -> bool:
        """Wait for at most `seconds`; return whether the model is settled."""
        return self._current().wait(seconds)

    def session(self) -> "ModelSession":
        """Wait for the loaded model. Raises what `load_model` raises."""
        return self._current().session()

    def described(self) -> SessionModel:
        """The loaded model as it is saved with the session."""
        name, file = self.session().model.name, self._file()
        template = str(self.template.path.absolute()) if self.template else ""
        return SessionModel(file.reference or str(file.path), name, str(file.path), template)

    def remarks(self) -> tuple[str, ...]:
        """What the user should know about the loaded model before its first answer."""
        return tuple(filter(None, [self._file().warning, *self.session().model.remarks]))

    def exchange(self, reference: str) -> None:
        """Wait until another model is loaded instead, with its own template.

        If that fails or is interrupted, starts to load the previous one again and raises the error.
        """
        self._find(reference)
        self._reload(reference, replace(self._options, template=None))

    def use_template(self, template: ChatTemplate | None) -> None:
        """Wait until the model is loaded again with this template; None stands for its own.

        Errors are treated as in `exchange`.
        """
        self._reload(self._reference, replace(self._options, template=template))

    def _reload(self, reference: str | None, options: LoadOptions) -> None:
        previous = self._reference, self._options
        self._reference, self._options = reference, options
        try:
            self.start_load()
            self.session()
        except (Exception, KeyboardInterrupt):
            self._reference, self._options = previous
            self.start_load()
            raise

    def close(self) -> None:
        """Free the model."""
        if self._load is not None:
            self._load.close()
            self._load = None

    def _current(self) -> BackgroundLoad:
        if self._load is None or self._load.is_over:
            self.start_load()
        if self._load is None:
            raise AssertionError("a load has just been started")
        return self._load

    def _file(self) -> ModelFile:
        file = self._current().file
        if file is None:
            raise AssertionError("a loaded model has a file")
        return file
