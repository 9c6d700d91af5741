"""Shapes of models: from their files, from their headers, or shipped with this package."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.data import DATA
from ossctl.hub.catalogue import catalogue
from ossctl.hub.reference import MAIN, HubReference
from ossctl.planning.header import Header, shape_of
from ossctl.planning.shape import ModelShape

if TYPE_CHECKING:
    from ossctl.runtime.gguf import GgufHeader

_FILE = DATA / "shapes.json"


@functools.cache
def known_shapes() -> Mapping[str, ModelShape]:
    """The shapes that this package ships, by `ORG/REPO/FILE`."""
    records = json.loads(_FILE.read_text(encoding="utf-8"))
    return {key: ModelShape.from_record(record) for key, record in records.items()}


def shipped_shape(reference: HubReference) -> ModelShape | None:
    """The shipped shape of a model on the hub, if there is one.

    References without a selector and revisions that the catalogue does not pin have none, because their files
    can differ.
    """
    if not reference.selector or not (reference.revision == MAIN or catalogue().is_pinned(reference)):
        return None
    shapes = [
        shape for key, shape in known_shapes().items()
        if key.rpartition("/")[0] == reference.repo and reference.selects(key.rpartition("/")[2])
    ]  # fmt: skip
    return shapes[0] if len(shapes) == 1 else None


def shape_of_file(path: Path) -> ModelShape:
    """The shape of the GGUF model whose first shard is `path`. Raises ModelError."""
    from ossctl.runtime.gguf import read_header, split_files

    first = read_header(path)
    others = split_files(path, first)[1:]
    return shape_of_shards([path, *others], [first, *map(read_header, others)])


def shards_of(path: Path) -> list[Path]:
    """All files of the model whose first shard is `path`. Raises ModelError."""
    from ossctl.runtime.gguf import read_header, split_files

    return [path, *split_files(path, read_header(path))[1:]]


def shape_of_shards(shards: Sequence[Path], headers: Sequence["GgufHeader"]) -> ModelShape:
    """The shape of a model whose headers were read before. Raises ModelError."""
    name = str(headers[0].metadata.get("general.name") or shards[0].stem)
    return shape_of_headers(headers, name, sum(shard.stat().st_size for shard in shards))


def shape_of_headers(headers: Sequence["GgufHeader"], name: str, file_bytes: int) -> ModelShape:
    """The shape of a model from the headers of its shards and their total size. Raises ModelError."""
    first = headers[0]
    tensors = [(tensor.name, tensor.n_bytes) for header in headers for tensor in header.tensors]
    return shape_of(Header(first.metadata, first.arrays, first.array_lengths, tensors, file_bytes), name)
