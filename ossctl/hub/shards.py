"""The files of one model: llama.cpp splits large ones into shards, `NAME-00002-of-00003.gguf`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# llama_split_path, src/llama.cpp: "%s-%05d-of-%05d.gguf"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")

# What lies beside models and is none: a vision tower, statistics for quantising.
_NO_MODEL = re.compile(r"(^|[-._/])(mmproj|imatrix)([-._]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Shard:
    """Where a file name stands in a split model; `number` counts from 1 to `count`."""

    stem: str
    number: int
    count: int

    @property
    def names(self) -> tuple[str, ...]:
        """The file names of all shards, the first one first."""
        return tuple(f"{self.stem}-{n:05}-of-{self.count:05}.gguf" for n in range(1, self.count + 1))


def shard_of(name: str) -> Shard | None:
    """What `name` says of its place in a split model; None for a whole one."""
    match = _SHARD.fullmatch(name)
    if match is None or not 1 <= int(match["number"]) <= int(match["count"]):
        return None
    return Shard(match["stem"], int(match["number"]), int(match["count"]))


def names_of_model(name: str) -> tuple[str, ...]:
    """The names of all files of the model that the file `name` belongs to."""
    shard = shard_of(name)
    return (name,) if shard is None else shard.names


def first_names(names: Iterable[str]) -> list[str]:
    """The models among the files `names`, each by the name of its first file, which may be missing."""
    ours = (name for name in names if name.lower().endswith(".gguf") and not _NO_MODEL.search(name))
    return sorted({names_of_model(name)[0] for name in ours})


def matching(models: Iterable[str], selector: str) -> list[str]:
    """Those of `models` (names of first files) that a file name or a quantisation, `Q4_K_M`, selects."""
    if selector.lower().endswith(".gguf"):
        wanted = names_of_model(selector)[0]
        return [name for name in models if wanted in (name, name.rpartition("/")[2])]
    part = re.compile(rf"(^|[-._/]){re.escape(selector)}([-./]|$)", re.IGNORECASE)
    return [name for name in models if part.search(name)]


def quantisation_of(name: str) -> str:
    """The quantisation that a file name tells, `Q4_K_M`; "" if it tells none."""
    found = re.search(
        r"(?<![A-Za-z0-9])(I?Q\d\w*|MXFP4\w*|NVFP4|BF16|F16|F32)(?=[-._]|$)",
        name.rpartition("/")[2],
        re.IGNORECASE,
    )
    return found[1].upper() if found else ""
