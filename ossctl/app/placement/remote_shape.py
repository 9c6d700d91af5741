"""The shape of a model that is still on the hub, from the first megabytes of its files."""

from ossctl.app.placement.shapes import shape_of_starts, shipped_shape
from ossctl.errors import ModelError
from ossctl.hub.download import fetch_prefix
from ossctl.hub.hub import HubFile, HubModel
from ossctl.hub.reference import HubReference
from ossctl.planning.shape import ModelShape

# Headers of small vocabularies end within the first, gpt-oss's 13 MB within the second.
_STARTS = (1 << 20, 16 << 20, 64 << 20)  # bytes


def remote_shape(model: HubModel) -> ModelShape:
    """What to plan with before a pull. Raises ModelError: the hub is out of reach, it is not a GGUF."""
    known = shipped_shape(HubReference(model.files[0].repo, model.files[0].name))
    if known is not None and known.file_bytes == model.n_bytes:
        return known
    starts = [_header_bytes(file) for file in model.files]
    shape = shape_of_starts(starts, model.files[0].name, model.n_bytes)
    if shape is None:
        raise AssertionError("every start holds its header")
    return shape


def _header_bytes(file: HubFile) -> bytes:
    from ossctl.runtime.gguf import read_header_start

    for n_bytes in _STARTS:
        start = fetch_prefix(file, n_bytes)
        try:
            whole = read_header_start(start) is not None
        except ModelError as error:
            raise ModelError(f"{file.name} on the hub is {error.message}", error.hint) from None
        if whole:
            return start
        if len(start) < n_bytes:
            break
    raise ModelError(f"the header of {file.name} on the hub cannot be read", "Is it a model in GGUF format?")
