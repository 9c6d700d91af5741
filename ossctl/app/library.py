"""The models on this machine, listed and described."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ossctl.app.models import all_models, is_verified, locate, open_records
from ossctl.errors import ModelError
from ossctl.harmony.markers import TEXTS
from ossctl.models.cache import RepoFolder, repo_folders
from ossctl.models.catalogue import Entry, catalogue
from ossctl.models.local import LocalModel, Origin
from ossctl.models.records import Records
from ossctl.models.reference import PREFIX
from ossctl.runtime.gguf import GgufHeader, check_complete, read_header
from ossctl.runtime.inspection import bytes_by_type, has_tokens, knows_architecture

__all__ = ["Description", "Entry", "Listing", "LocalModel", "Unfinished"]

_NO_MODELS = ("mmproj", "adapter", "imatrix")  # general.type


@dataclass(frozen=True)
class Listing:
    """A model as `ls` shows it. `headers` are those of its files; `problem` is "" if it can be run."""

    model: LocalModel
    headers: tuple[GgufHeader, ...]
    quantisation: str
    used: datetime | None
    verified: bool
    problem: str


@dataclass(frozen=True)
class Unfinished:
    """A download that has not ended: `n_bytes` are there, of `total` where that is known."""

    name: str
    path: Path
    n_bytes: int
    total: int | None


@dataclass(frozen=True)
class Description:
    """A model as `show` shows it. `context` in tokens; `types` are bytes by ggml's names of tensor types."""

    listing: Listing
    entry: Entry | None
    architecture: str
    context: int | None
    chat_format: str
    types: Counter[str]
    licence: str


def list_models() -> list[Listing]:
    """Every model of the Hugging Face cache, and those of other programs that llama.cpp can load."""
    records = open_records()
    listings = [_listing(model, records) for model in all_models() if model.files]
    return [each for each in listings if not each.problem or each.model.origin is Origin.HUB]


def unfinished_downloads() -> list[Unfinished]:
    """What pulls have left, to go on from."""
    return [_unfinished(folder, part) for folder in repo_folders() for part in folder.parts]


def not_here(listings: list[Listing]) -> list[Entry]:
    """What the catalogue knows and this machine has not."""
    names = {listing.model.name for listing in listings}
    return [entry for entry in catalogue().entries if entry.name not in names]


def describe(reference: str) -> Description | Entry:
    """What is to be said of a model; of one that is not here, what the catalogue says.

    Raises ModelError, UsageError.
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
    return Description(
        listing=_listing(model, open_records()),
        entry=entry,
        architecture=header.architecture,
        context=context if isinstance(context, int) else None,
        chat_format=_chat_format(header, model.first),
        types=sum(map(bytes_by_type, model.files), Counter[str]()),
        licence=entry.model.licence if entry else str(header.metadata.get("general.license", "")),
    )


def _listing(model: LocalModel, records: Records) -> Listing:
    try:
        headers = tuple(map(read_header, model.files))
        types = sum(map(bytes_by_type, model.files), Counter[str]())
    except ModelError as error:
        return Listing(model, (), "", None, verified=False, problem=error.message)
    return Listing(
        model=model,
        headers=headers,
        quantisation=max(types, key=types.__getitem__, default=""),
        used=records.used(model.files[0]),
        verified=is_verified(model, records),
        problem=_problem(model, headers),
    )


def _problem(model: LocalModel, headers: tuple[GgufHeader, ...]) -> str:
    """Why llama.cpp could not load it, as far as that shows without trying."""
    architecture, kind = headers[0].architecture, headers[0].metadata.get("general.type")
    if kind in _NO_MODELS:
        return f"it is no model but its {kind}"
    if not knows_architecture(architecture):
        return f"llama.cpp does not know its architecture, {architecture}"
    if model.missing:
        return f"{model.missing[0]} is missing"
    try:
        for file, header in zip(model.files, headers, strict=True):
            check_complete(file, header)
    except ModelError as error:
        return error.message
    return ""


def _unfinished(folder: RepoFolder, part: Path) -> Unfinished:
    sha256 = part.name.partition(".")[0]
    entry = catalogue().with_hash(sha256)
    name = entry.name if entry else f"{PREFIX}{folder.repo}"
    known = [file.n_bytes for file in entry.variant.files if file.sha256 == sha256] if entry else [None]
    return Unfinished(name, part, part.stat().st_size, known[0])


def _chat_format(header: GgufHeader, first: Path) -> str:
    """How a conversation is written for the model, as `app.loading` will decide."""
    if has_tokens(first, TEXTS):
        return "Harmony"
    return "Jinja template" if header.metadata.get("tokenizer.chat_template") else "none"
