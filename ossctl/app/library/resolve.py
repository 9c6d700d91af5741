"""Resolve references to models: names, `hf:ORG/REPO` and paths."""

import os
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.placement.fit import DoesNotFit, fit_of
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.shapes import shape_of_file, shipped_shape
from ossctl.config.alias import model_behind
from ossctl.data import DATA
from ossctl.errors import MemoryShortage, ModelError, UsageError
from ossctl.hub.cache import RepoFolder, repo_folders
from ossctl.hub.catalogue import Entry, catalogue
from ossctl.hub.local import LocalModel, Origin, model_at
from ossctl.hub.other_apps import models_of_other_apps
from ossctl.hub.records import FileRecords
from ossctl.hub.reference import PREFIX, HubReference
from ossctl.planning.machine import Machine
from ossctl.planning.plan import Plan
from ossctl.runtime.gguf import check_complete, read_header
from ossctl.settings import Paths

NANO = "nano"
GPT_OSS = "gpt-oss"  # general.architecture

NANO_FILE = DATA / "nano.gguf"

_GPT_OSS_NAMES = ("120b", "20b")  # largest first
_SHA256_LENGTH = 64  # hexadecimal digits


@dataclass(frozen=True)
class ModelChoice:
    """A file to load, with a warning for the user or ""."""

    path: Path
    warning: str = ""


class NotPulled(ModelError):
    """A model is not on this machine, but `ossctl pull reference` can fetch it."""

    def __init__(self, message: str, hint: str, reference: str) -> None:
        super().__init__(message, hint)
        self.reference = reference


def choose(reference: str | None, options: LoadOptions) -> ModelChoice:
    """The model for -m; without one, the largest gpt-oss model on this machine that fits with `options`.

    Checks sizes and headers of all shards but not hashes: a model that was never verified has a warning.
    Raises NotPulled, ModelError (incomplete, damaged, unknown name), UsageError (ambiguous) and
    MemoryShortage (no gpt-oss model on this machine fits).
    """
    reference = None if reference is None else model_behind(reference)
    if reference == NANO:
        return ModelChoice(_nano().first, "nano is a test and demo model that knows almost nothing.")
    model = _largest_gpt_oss(options) if reference is None else locate(reference)
    path = model.first
    for shard in model.files[1:]:  # loading checks the first one
        check_complete(shard, read_header(shard))
    _check_size(model)
    records = open_records()
    if path.exists():
        records.note_used(path)
    return ModelChoice(path, _warning(model, records))


def locate(reference: str) -> LocalModel:
    """The model on this machine that `reference` means. Raises ModelError and UsageError."""
    reference = model_behind(reference)
    if reference == NANO:
        return _nano()
    entry = catalogue().find(reference)
    if entry is not None:
        return _locate_entry(entry)
    on_hub = as_hub_reference(reference)
    if on_hub is not None:
        return _locate_in_cache(on_hub)
    if is_path(reference):
        return model_at(Path(reference))
    raise unknown_name(reference)


def hub_reference(reference: str) -> HubReference:
    """The reference to the hub that a name or `hf:ORG/REPO` stands for. Raises ModelError and UsageError."""
    reference = model_behind(reference)
    if reference == NANO:
        raise UsageError("nano is part of ossctl, so there is nothing to fetch", "Use it with -m nano.")
    entry = catalogue().find(reference)
    if entry is not None:
        return entry.variant.pinned
    on_hub = as_hub_reference(reference)
    if on_hub is not None:
        return on_hub
    if is_path(reference):
        raise UsageError(
            f"{reference} is a path, not a model to fetch", "For a repository write hf:ORG/REPO."
        )
    raise unknown_name(reference)


def check_name(reference: str) -> None:
    """Raise ModelError or UsageError if `reference` can mean no model, here or on the hub."""
    if reference == NANO or catalogue().find(reference) or as_hub_reference(reference) or is_path(reference):
        return
    raise unknown_name(reference)


def as_hub_reference(reference: str) -> HubReference | None:
    """The model on the hub that `hf:ORG/REPO`, an address or, unless it is a path here, `ORG/REPO` means.

    None for anything else. Raises UsageError for `hf:` with something else after it.
    """
    if reference.startswith(PREFIX):
        return HubReference.parse(reference)
    on_hub = HubReference.of_address(reference)
    if on_hub is not None:
        return on_hub
    on_hub = HubReference.of_repo(reference)
    return on_hub if on_hub and not Path(on_hub.repo).parent.exists() else None


def has_nano() -> bool:
    """Whether this build includes nano. A checkout has to train it first."""
    return NANO_FILE.exists()


def known_names() -> list[str]:
    """All names of models, on this machine or not."""
    return [*_nano_name(), *(entry.name for entry in catalogue().entries)]


def is_path(reference: str) -> bool:
    """Whether `reference` looks like a path or is an existing one. Raises UsageError if it is blank."""
    if not reference.strip():
        raise UsageError("the name of the model is empty", "`ossctl ls --all` lists all names.")
    if as_hub_reference(reference) is not None:
        return False
    path = Path(reference)
    return path.name != reference or bool(path.suffix) or os.path.exists(path)  # noqa: PTH110 (never raises)


def unknown_name(name: str) -> ModelError:
    """The error for an unknown name, with similar ones."""
    nearest = catalogue().nearest(name, *_nano_name())
    suggestion = f"Did you mean {' or '.join(nearest)}? " if nearest else ""
    return ModelError(f"no model is called {name}", f"{suggestion}`ossctl ls --all` lists all names.")


def verified_copy(reference: str) -> LocalModel | None:
    """The model that `reference` means, if it is here, complete and verified. Raises UsageError."""
    try:
        model = locate(reference)
    except ModelError:
        return None
    return model if is_verified(model, open_records()) else None


def open_records() -> FileRecords:
    """The database of verifications and last uses."""
    return FileRecords(Paths.from_environment().state / "models.db")


def all_models() -> list[LocalModel]:
    """All models on this machine, those of the Hugging Face cache first, without duplicate files."""
    models = [model for folder in repo_folders() for model in folder.models()]
    seen = {file.resolve() for model in models for file in model.files}
    for model in models_of_other_apps():
        files = {file.resolve() for file in model.files}
        if not files <= seen:
            models.append(model)
            seen |= files
    return models


def expected_hash(model: LocalModel, file: Path) -> str:
    """The hexadecimal sha256 that `file` should have; "" if it is not known.

    The Hugging Face cache and Ollama name blobs by hash, LM Studio's files keep the names that the catalogue
    has. Of a chain of symlinks only the first has the hash: others lead to a store with other names.
    """
    name = (file.readlink() if file.is_symlink() else file).name.removeprefix("sha256-")
    if model.origin in (Origin.HUB, Origin.OLLAMA) and len(name) == _SHA256_LENGTH and name.isalnum():
        return name
    repo = model.repo or "/".join(Path(model.label).parts[:2])
    known = catalogue().known_file(repo, file.name)
    return known.sha256 if known else ""


def is_verified(model: LocalModel, records: FileRecords) -> bool:
    """Whether all files were verified and have not changed since."""
    return not model.missing and all(records.verified(file) for file in model.files)


def _locate_in_cache(reference: HubReference) -> LocalModel:
    found = RepoFolder.of(reference.repo).find(reference)
    if found is None:
        hint = f"`ossctl pull {reference}` fetches it."
        raise NotPulled(f"{reference} is not on this machine", hint, str(reference))
    return found


def _locate_entry(entry: Entry) -> LocalModel:
    reference = entry.variant.reference
    found = RepoFolder.of(reference.repo).find(reference) or _in_lm_studio(reference)
    if found is None:
        raise NotPulled(
            f"{entry.model.name} ({entry.variant.name}) is not on this machine",
            f"`ossctl pull {entry.name}` fetches it: {entry.variant.gigabytes} GB.",
            entry.name,
        )
    return found


def _in_lm_studio(reference: HubReference) -> LocalModel | None:
    """The same file in LM Studio's folder, which is organised by repository."""
    for model in models_of_other_apps():
        repo, _, name = model.label.rpartition("/")
        if model.origin is Origin.LM_STUDIO and repo == reference.repo and reference.selects(name):
            return model
    return None


def recommended() -> Entry:
    """The gpt-oss model of the catalogue that suits this machine best."""
    return recommended_for(this_machine())


def recommended_for(machine: Machine) -> Entry:
    """The largest gpt-oss model with all layers on GPUs, where experts may be in RAM; else the smallest.

    Without a GPU, the 120b may fit in RAM but would be slow.
    """
    *larger, smallest = (catalogue().entry(name) for name in _GPT_OSS_NAMES)
    return next((entry for entry in larger if _is_offloaded(entry, machine)), smallest)


def _is_offloaded(entry: Entry, machine: Machine) -> bool:
    shape = shipped_shape(entry.variant.reference)
    fit = fit_of(shape, machine) if shape else None
    return isinstance(fit, Plan) and fit.settings.gpu_layers == fit.shape.n_layers + 1


def _nano_name() -> list[str]:
    return [NANO] if has_nano() else []


def _nano() -> LocalModel:
    if not has_nano():
        raise ModelError("this build of ossctl does not include nano", "In a checkout, run `make nano`.")
    return LocalModel(NANO, Origin.PACKAGE, (NANO_FILE,))


def _largest_gpt_oss(options: LoadOptions) -> LocalModel:
    models = [model for model in all_models() if not model.missing and _is_gpt_oss(model)]
    if not models:
        entry = recommended()
        raise NotPulled(
            "there is no gpt-oss model on this machine",
            f"`ossctl pull {entry.name}` fetches one, {entry.variant.gigabytes} GB; "
            f"{'-m nano is a small model to try' if has_nano() else '`ossctl ls -a` lists others'}.",
            entry.name,
        )
    machine = this_machine()
    shortages = []
    for model in sorted(models, key=lambda model: -model.n_bytes):
        shape = shape_of_file(model.first)
        fit = fit_of(shape, machine, overrides=options.overrides(shape))
        if not isinstance(fit, DoesNotFit):
            return model
        shortages.append(fit.error)
    last = shortages[-1]
    raise MemoryShortage(last.message, f"It is the smallest gpt-oss model on this machine. {last.hint}")


def _is_gpt_oss(model: LocalModel) -> bool:
    try:
        return read_header(model.files[0]).architecture == GPT_OSS
    except ModelError:
        return False


def _check_size(model: LocalModel) -> None:
    """Raise ModelError if a file does not have the size that belongs to its hash."""
    for file in model.files:
        known = catalogue().known_file(model.repo, file.name)
        size = file.stat().st_size if known else 0
        if known and known.sha256 == expected_hash(model, file) and size != known.n_bytes:
            raise ModelError(
                f"{file.name} is damaged: it has {size:,} bytes instead of {known.n_bytes:,}",
                f"`ossctl pull {model.name}` fetches it again.",
            )


def _warning(model: LocalModel, records: FileRecords) -> str:
    verifiable = any(expected_hash(model, file) for file in model.files)
    if not verifiable or is_verified(model, records):
        return ""
    return f"{model.name} was never verified: `ossctl verify {model.name}` checks its sha256."
