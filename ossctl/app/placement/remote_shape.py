"""The shape of a model on the hub, from the first megabytes of its files."""

from typing import TYPE_CHECKING

from ossctl.app.placement.shapes import shape_of_headers, shipped_shape
from ossctl.errors import ModelError
from ossctl.hub.download import fetch_prefix
from ossctl.hub.hub import HubFile, HubModel
from ossctl.hub.reference import HubReference
from ossctl.planning.shape import ModelShape

if TYPE_CHECKING:
    from ossctl.runtime.gguf import GgufHeader

# The header of a small vocabulary fits into the first, the 13 MB of gpt-oss into the second.
_PREFIX_BYTES = (1 << 20, 16 << 20, 64 << 20)


def remote_shape(model: HubModel) -> ModelShape:
    """The shape of a model before it is pulled. Raises ModelError (hub not reachable, not a GGUF file)."""
    known = shipped_shape(HubReference(model.files[0].repo, model.files[0].name))
    if known is not None and known.file_bytes == model.n_bytes:
        return known
    headers = [_remote_header(file) for file in model.files]
    return shape_of_headers(headers, model.files[0].name, model.n_bytes)


def _remote_header(file: HubFile) -> "GgufHeader":
    from ossctl.runtime.gguf import read_header_start

    for n_bytes in _PREFIX_BYTES:
        prefix = fetch_prefix(file, n_bytes)
        try:
            header = read_header_start(prefix)
        except ModelError as error:
            raise ModelError(f"{file.name} on the hub is {error.message}", error.hint) from None
        if header is not None:
            return header
        if len(prefix) < n_bytes:
            break
    raise ModelError(f"the header of {file.name} on the hub cannot be read", "Is it a model in GGUF format?")
