"""File names of GGUF models, which llama.cpp splits into shards: `NAME-00002-of-00003.gguf`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# llama_split_path, src/llama.cpp: "%s-%05d-of-%05d.gguf"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")

# GGUF files that are not language models: multimodal projectors and importance matrices.
_NOT_A_MODEL = re.compile(r"(^|[-._/])(mmproj|imatrix)([-._]|$)", re.IGNORECASE)

# GGUF files that only draft for another model of the same folder.
_DRAFTER = re.compile(r"(^|/)mtp(-[^/]*$|/)|(^|[-._/])eagle-?[23]([-._/]|$)", re.IGNORECASE)
_PERHAPS_A_DRAFTER = re.compile(r"(^|[-._/])(mtp|draft|drafter)([-._/]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Shard:
    """A shard of a split model; `number` is from 1 to `count`."""

    stem: str
    number: int
    count: int

    @property
    def names(self) -> tuple[str, ...]:
        """The file names of all shards, in order."""
        return tuple(f"{self.stem}-{n:05}-of-{self.count:05}.gguf" for n in range(1, self.count + 1))


def shard_of(name: str) -> Shard | None:
    """The shard that a file name denotes, or None if the model is not split."""
    match = _SHARD.fullmatch(name)
    if match is None or not 1 <= int(match["number"]) <= int(match["count"]):
        return None
    return Shard(match["stem"], int(match["number"]), int(match["count"]))


def shard_names(name: str) -> tuple[str, ...]:
    """The names of all files of the model that the file `name` belongs to, in order."""
    shard = shard_of(name)
    return (name,) if shard is None else shard.names


def first_shards(names: Iterable[str]) -> list[str]:
    """The first shard, which may be missing, of each model among the files `names`."""
    models = [name for name in names if name.lower().endswith(".gguf") and not _NOT_A_MODEL.search(name)]
    return sorted({shard_names(name)[0] for name in models if not _is_drafter(name, models)})


def _is_drafter(name: str, names: Iterable[str]) -> bool:
    """Whether the file `name` only drafts for another model among `names`."""
    if _DRAFTER.search(name):
        return True
    found = _PERHAPS_A_DRAFTER.search(name)
    return found is not None and any(
        other.startswith(name[: found.start()]) and not _PERHAPS_A_DRAFTER.search(other) for other in names
    )


def matching(models: Iterable[str], selector: str) -> list[str]:
    """The `models` (names of first shards) that a file name or a quantisation such as `Q4_K_M` selects."""
    if selector.lower().endswith(".gguf"):
        wanted = shard_names(selector)[0]
        return [name for name in models if wanted in (name, name.rpartition("/")[2])]
    component = re.compile(rf"(^|[-._/]){re.escape(selector)}([-./]|$)", re.IGNORECASE)
    return [name for name in models if component.search(name)]


def quantisation_of(name: str) -> str:
    """The quantisation in a file name, such as `Q4_K_M`; "" if there is none."""
    found = re.search(
        r"(?<![A-Za-z0-9])(I?Q\d\w*|MXFP4\w*|NVFP4|BF16|F16|F32)(?=[-._]|$)",
        name.rpartition("/")[2],
        re.IGNORECASE,
    )
    return found[1].upper() if found else ""
