"""The shape of a model: from its file, from the beginning of one, or, for gpt-oss, from this package."""

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
    """Shapes that come with the package, by repository and file. No file of a model is needed."""
    records = json.loads(_FILE.read_text(encoding="utf-8"))
    return {key: ModelShape.from_record(record) for key, record in records.items()}


def shipped_shape(reference: HubReference) -> ModelShape | None:
    """The shape that comes with the package of the file that `reference` names, if one does.

    None where it names none, or a commit that is not the catalogue's: what that holds only the hub can tell.
    """
    if not reference.selector or not (reference.revision == MAIN or catalogue().is_pinned(reference)):
        return None
    shapes = [
        shape for key, shape in known_shapes().items()
        if key.rpartition("/")[0] == reference.repo and reference.selects(key.rpartition("/")[2])
    ]  # fmt: skip
    return shapes[0] if len(shapes) == 1 else None


def shape_of_file(path: Path) -> ModelShape:
    """The shape of the GGUF whose first or only part is `path`. Raises ModelError."""
    from ossctl.runtime.gguf import read_header, split_files

    first = read_header(path)
    parts = [path, *split_files(path, first)[1:]]
    return shape_of_parts(parts, [first, *(read_header(part) for part in parts[1:])])


def parts_of_file(path: Path) -> list[Path]:
    """All files of the model whose first or only part is `path`. Raises ModelError."""
    from ossctl.runtime.gguf import read_header, split_files

    return [path, *split_files(path, read_header(path))[1:]]


def shape_of_parts(parts: Sequence[Path], headers: Sequence["GgufHeader"]) -> ModelShape:
    """The shape of a model whose files were read already. Raises ModelError."""
    first = headers[0]
    tensors = [(tensor.name, tensor.n_bytes) for header in headers for tensor in header.tensors]
    size = sum(part.stat().st_size for part in parts)
    plain = Header(first.metadata, first.arrays, first.array_lengths, tensors, size)
    return shape_of(plain, str(first.metadata.get("general.name") or parts[0].stem))


def shape_of_starts(starts: Sequence[bytes], name: str, file_bytes: int) -> ModelShape | None:
    """The shape of a model that is not here yet, from the first bytes of each of its parts.

    None if a header goes on after them: ask again with more. Raises ModelError.
    """
    from ossctl.runtime.gguf import read_header_start

    headers = [read_header_start(start) for start in starts]
    whole = [header for header in headers if header is not None]
    if len(whole) < len(headers):
        return None
    tensors = [(tensor.name, tensor.n_bytes) for header in whole for tensor in header.tensors]
    first = whole[0]
    return shape_of(Header(first.metadata, first.arrays, first.array_lengths, tensors, file_bytes), name)
