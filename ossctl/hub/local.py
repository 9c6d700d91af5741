"""Models on this machine."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ossctl.errors import ModelError
from ossctl.hub.shards import first_shards, shard_names, shard_of


class Origin(StrEnum):
    """The program that a model's files belong to."""

    HUB = "Hugging Face"
    LM_STUDIO = "LM Studio"
    LLAMA_CPP = "llama.cpp"
    OLLAMA = "Ollama"
    PACKAGE = "ossctl"
    PATH = "a path"


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine. `files` are its shards in order, without those in `missing`.

    `name` is what -m takes, `label` the name used by its origin. `repo` and `commit` are "" if not known.
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
        """The file to load. Raises ModelError if a shard is missing."""
        if self.missing:
            raise ModelError(f"{self.name} is incomplete: {self.missing[0]} is missing", _hint(self))
        return self.files[0]


def group_shards(
    names: Iterable[str], folder: Path
) -> Iterator[tuple[str, tuple[Path, ...], tuple[str, ...]]]:
    """Yield (name of the first shard, files, names of missing shards) for each model in `folder`.

    `names` are the files in `folder`, relative to it.
    """
    present = set(names)
    for first in first_shards(present):
        wanted = shard_names(first)
        files = tuple(folder / name for name in wanted if name in present)
        yield first, files, tuple(name for name in wanted if name not in present)


def model_at(path: Path) -> LocalModel:
    """The model whose first shard is `path`, which need not exist. Raises ModelError for a later shard."""
    shard = shard_of(path.name)
    if shard is None:
        return LocalModel(str(path), Origin.PATH, (path,))
    first = path.with_name(shard.names[0])
    if shard.number != 1:
        raise ModelError(
            f"{path} is shard {shard.number} of {shard.count} of a model", f"Pass the first shard, {first}."
        )
    files = [path.with_name(name) for name in shard.names]
    present = tuple(file for file in files if file == path or file.exists())
    missing = tuple(file.name for file in files if file not in present)
    return LocalModel(str(path), Origin.PATH, present, missing)


def _hint(model: LocalModel) -> str:
    if model.origin is Origin.HUB:
        return f"`ossctl pull {model.name}` fetches what is missing."
    return "All shards must be in the same folder."
