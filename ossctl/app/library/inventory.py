"""List and describe the models on this machine."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ossctl.app.library.resolve import all_models, is_verified, locate, open_records
from ossctl.app.placement.fit import Fit, fit_of
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.shapes import shape_of_shards, shipped_shape
from ossctl.errors import ModelError
from ossctl.harmony.markers import TEXTS
from ossctl.hub.cache import RepoFolder, repo_folders
from ossctl.hub.catalogue import Entry, catalogue
from ossctl.hub.local import LocalModel, Origin
from ossctl.hub.records import FileRecords
from ossctl.hub.reference import PREFIX
from ossctl.planning.shape import ModelShape
from ossctl.runtime.gguf import GgufHeader, check_complete, read_header
from ossctl.runtime.inspection import bytes_by_type, has_tokens, knows_architecture

__all__ = ["Description", "Entry", "Listing", "LocalModel", "Unfinished"]

_NOT_MODELS = ("mmproj", "adapter", "imatrix")  # general.type


@dataclass(frozen=True)
class Listing:
    """A model in `ossctl ls`. `problem` is "" if it can run, `shape` None if it cannot be planned.

    `damaged` means that the problem is with its files, so pulling them again helps.
    """

    model: LocalModel
    shape: ModelShape | None
    quantisation: str
    used: datetime | None
    verified: bool
    problem: str
    damaged: bool


@dataclass(frozen=True)
class Unfinished:
    """A partial download of `n_bytes` bytes. `total` is None if the full size is not known."""

    name: str
    path: Path
    n_bytes: int
    total: int | None


@dataclass(frozen=True)
class Description:
    """A model in `ossctl show`. `context` is in tokens, `types` maps ggml's tensor types to bytes.

    `fit` is None if the model cannot be planned.
    """

    listing: Listing
    fit: Fit | None
    entry: Entry | None
    architecture: str
    context: int | None
    chat_format: str
    types: Counter[str]
    licence: str


def list_models() -> list[Listing]:
    """All models in the Hugging Face cache, and those of other programs without a problem."""
    records = open_records()
    listings = [_listing(model, records) for model in all_models() if model.files]
    return [each for each in listings if not each.problem or each.model.origin is Origin.HUB]


def fits_here(listings: list[Listing]) -> list[Fit | None]:
    """Whether and how each model fits this machine; None for models that cannot be planned."""
    if not listings:
        return []
    machine = this_machine()
    return [fit_of(each.shape, machine) if each.shape else None for each in listings]


def fit_of_entry(entry: Entry) -> Fit | None:
    """Whether and how a model of the catalogue fits this machine; None if its shape is not shipped."""
    shape = shipped_shape(entry.variant.reference)
    return fit_of(shape, this_machine()) if shape else None


def unfinished_downloads() -> list[Unfinished]:
    """Partial downloads that `ossctl pull` can resume."""
    return [_unfinished(folder, path) for folder in repo_folders() for path in folder.incomplete_files]


def entries_to_fetch(listings: list[Listing]) -> list[Entry]:
    """The models of the catalogue that are not in `listings`."""
    names = {listing.model.name for listing in listings}
    return [entry for entry in catalogue().entries if entry.name not in names]


def describe(reference: str) -> Description | Entry:
    """Describe a model, or return the catalogue's entry for one that is not on this machine.

    Raises ModelError and UsageError.
    """
    entry = catalogue().find(reference)
    try:
        model = locate(reference)
    except ModelError:
        if entry is None:
            raise
        return entry
    header = read_header(model.first)
    context = header.metadata.get(f"{header.architecture}.context_length")
    entry = entry or catalogue().find(model.name)
    listing = _listing(model, open_records())
    return Description(
        listing=listing,
        fit=fits_here([listing])[0],
        entry=entry,
        architecture=header.architecture,
        context=context if isinstance(context, int) else None,
        chat_format=_chat_format(header, model.first),
        types=sum(map(bytes_by_type, model.files), Counter[str]()),
        licence=entry.model.licence if entry else str(header.metadata.get("general.license", "")),
    )


def _listing(model: LocalModel, records: FileRecords) -> Listing:
    try:
        headers = tuple(map(read_header, model.files))
        types = sum(map(bytes_by_type, model.files), Counter[str]())
    except ModelError as error:
        return Listing(model, None, "", None, verified=False, problem=error.message, damaged=True)
    unsupported, damage = _why_unsupported(headers[0]), _damage(model, headers)
    problem = unsupported or damage
    return Listing(
        model=model,
        shape=None if problem else _shape(model, headers),
        quantisation=max(types, key=types.__getitem__, default=""),
        used=records.used(model.files[0]),
        verified=is_verified(model, records),
        problem=problem,
        damaged=bool(damage) and not unsupported,
    )


def _shape(model: LocalModel, headers: tuple[GgufHeader, ...]) -> ModelShape | None:
    try:
        return shape_of_shards(model.files, headers)
    except ModelError:  # an embedding model, for example
        return None


def _why_unsupported(header: GgufHeader) -> str:
    """Why llama.cpp cannot load a file with this header; "" if nothing in it speaks against that."""
    architecture, kind = header.architecture, header.metadata.get("general.type")
    if kind in _NOT_MODELS:
        return f"not a language model but an {kind} file"
    if not knows_architecture(architecture):
        return f"llama.cpp does not support the architecture {architecture}"
    return ""


def _damage(model: LocalModel, headers: tuple[GgufHeader, ...]) -> str:
    """What is missing from the files; "" if they are complete."""
    if model.missing:
        return f"{model.missing[0]} is missing"
    try:
        for file, header in zip(model.files, headers, strict=True):
            check_complete(file, header)
    except ModelError as error:
        return error.message
    return ""


def _unfinished(folder: RepoFolder, path: Path) -> Unfinished:
    sha256 = path.name.partition(".")[0]
    entry = catalogue().find_by_hash(sha256)
    name = entry.name if entry else f"{PREFIX}{folder.repo}"
    sizes = [file.n_bytes for file in entry.variant.files if file.sha256 == sha256] if entry else [None]
    return Unfinished(name, path, path.stat().st_size, sizes[0])


def _chat_format(header: GgufHeader, first: Path) -> str:
    """The dialect that `app.inference.loading` will choose."""
    if has_tokens(first, TEXTS):
        return "Harmony"
    return "Jinja template" if header.metadata.get("tokenizer.chat_template") else "none"
