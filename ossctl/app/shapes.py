"""The shape of a model: from its file, from the beginning of one, or, for gpt-oss, from this package."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from ossctl.errors import ModelError
from ossctl.planning.header import Header, shape_of
from ossctl.planning.shape import ModelShape

# What users call them, and the file that is meant: the maintainers' own.
GPT_OSS = {
    "20b": "ggml-org/gpt-oss-20b-GGUF/gpt-oss-20b-mxfp4.gguf",
    "120b": "ggml-org/gpt-oss-120b-GGUF/gpt-oss-120b-mxfp4-00001-of-00003.gguf",
}


def known_shapes() -> dict[str, ModelShape]:
    """Shapes that come with the package, by repository and file. No file of a model is needed."""
    text = files("ossctl.data").joinpath("shapes.json").read_text(encoding="utf-8")
    return {key: ModelShape.from_record(record) for key, record in json.loads(text).items()}


def find_shape(reference: str) -> ModelShape:
    """The shape of `20b`, `120b` or the GGUF at a path, all its parts. Raises ModelError."""
    if reference in GPT_OSS:
        return known_shapes()[GPT_OSS[reference]]
    path = Path(reference)
    if not path.exists() and path.suffix != ".gguf":
        raise ModelError(
            f"there is no model {reference}", f"Known are {', '.join(GPT_OSS)} and paths of .gguf files."
        )
    return shape_of_file(path)


def shape_of_file(path: Path) -> ModelShape:
    """The shape of the GGUF whose first or only part is `path`. Raises ModelError."""
    from ossctl.runtime.gguf import read_header, split_files

    first = read_header(path)
    parts = [path, *split_files(path, first)[1:]]
    headers = [first, *(read_header(part) for part in parts[1:])]
    tensors = [(tensor.name, tensor.n_bytes) for header in headers for tensor in header.tensors]
    size = sum(part.stat().st_size for part in parts)
    plain = Header(first.metadata, first.arrays, first.array_lengths, tensors, size)
    return shape_of(plain, str(first.metadata.get("general.name") or path.stem))


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
