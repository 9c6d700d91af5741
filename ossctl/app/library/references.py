"""Models as the user names them, several at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.inference.embedding import refuse_embedding_model
from ossctl.app.placement.shapes import shape_of_file
from ossctl.errors import UsageError
from ossctl.harmony.markers import TEXTS
from ossctl.runtime.inspection import has_tokens

_GGUF = ".gguf"


@dataclass(frozen=True)
class Given:
    """A model as the user named it, and its file."""

    reference: str
    path: Path

    @property
    def name(self) -> str:
        """The reference; of a path to a .gguf file only the file's name."""
        return Path(self.reference).stem if self.reference.endswith(_GGUF) else self.reference


def given(reference: str | None, path: Path) -> Given:
    """A model that can be compared, by what its file says. Raises ModelError, UsageError."""
    refuse_embedding_model(path)
    shape_of_file(path)
    return Given(reference or path.stem, path)


def refuse_think(models: Sequence[Given]) -> None:
    """Raise UsageError if no model can switch its reasoning, as far as this is known before loading one."""
    if all(has_tokens(model.path, TEXTS) for model in models):
        names = " and ".join(model.name for model in models)
        raise UsageError(f"--think is not for {names}: gpt-oss always reasons", "Use --effort.")


def split_references(given: Sequence[str]) -> list[str]:
    """The models of several `-m A,B`. A comma that is part of an existing path separates nothing."""
    return [name for text in given for name in _split(text)]


def _split(text: str) -> Iterator[str]:
    parts = text.split(",")
    while parts:
        length = next((n for n in range(len(parts), 1, -1) if Path(",".join(parts[:n])).exists()), 1)
        name = ",".join(parts[:length]).strip()
        if not name:
            raise UsageError(f"-m {text}: the name of a model is empty")
        yield name
        parts = parts[length:]
