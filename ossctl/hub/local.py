"""A model whose files are on this machine."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ossctl.errors import ModelError
from ossctl.hub.shards import first_names, names_of_model, shard_of


class Origin(StrEnum):
    """Whose file it is."""

    HUB = "Hugging Face"
    LM_STUDIO = "LM Studio"
    LLAMA_CPP = "llama.cpp"
    OLLAMA = "Ollama"
    PACKAGE = "ossctl"
    PATH = "a path"


@dataclass(frozen=True)
class LocalModel:
    """`files` are those that are there, in the order of the shards; `missing` names the others.

    `name` is what -m takes. `repo` and `commit` say where it came from, "" where that is not known, and
    `label` what its owner calls it.
    """

    name: str
    origin: Origin
    files: tuple[Path, ...]
    missing: tuple[str, ...] = ()
    repo: str = ""
    commit: str = ""
    label: str = ""

    @property
    def n_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    @property
    def first(self) -> Path:
        """The file that llama.cpp is given. Raises ModelError if the model is not complete."""
        if self.missing:
            raise ModelError(f"{self.name} is incomplete: {self.missing[0]} is missing", _again(self))
        return self.files[0]


def models_among(
    names: Iterable[str], folder: Path
) -> Iterator[tuple[str, tuple[Path, ...], tuple[str, ...]]]:
    """(first name, files, missing) of each model among the files `names` below `folder`."""
    there = set(names)
    for first in first_names(there):
        wanted = names_of_model(first)
        files = tuple(folder / name for name in wanted if name in there)
        yield first, files, tuple(name for name in wanted if name not in there)


def model_at(path: Path) -> LocalModel:
    """The model whose first, or only, file is at `path`. Raises ModelError for a later shard.

    Whether there is a file at all is seen when it is opened.
    """
    shard = shard_of(path.name)
    if shard is None:
        return LocalModel(str(path), Origin.PATH, (path,))
    first = path.with_name(shard.names[0])
    if shard.number != 1:
        raise ModelError(
            f"{path} is part {shard.number} of {shard.count} of a model", f"Give its first part, {first}."
        )
    files = [path.with_name(name) for name in shard.names]
    there = tuple(file for file in files if file == path or file.exists())
    missing = tuple(file.name for file in files if file not in there)
    return LocalModel(str(path), Origin.PATH, there, missing)


def _again(model: LocalModel) -> str:
    if model.origin is Origin.HUB:
        return f"`ossctl pull {model.name}` fetches what is missing."
    return "All parts have to be in one folder."
