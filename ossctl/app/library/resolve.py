"""Which model a reference means, and where it is."""

from dataclasses import dataclass
from pathlib import Path

from ossctl.app.placement.fit import DoesNotFit, outcome_of
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.shapes import shape_of_file, shipped_shape
from ossctl.data import DATA
from ossctl.errors import MemoryShortage, ModelError, UsageError
from ossctl.hub.cache import RepoFolder, repo_folders
from ossctl.hub.catalogue import Entry, catalogue
from ossctl.hub.local import LocalModel, Origin, model_at
from ossctl.hub.other_apps import foreign_models
from ossctl.hub.records import FileRecords
from ossctl.hub.reference import PREFIX, HubReference
from ossctl.planning.machine import Machine
from ossctl.planning.plan import Plan
from ossctl.runtime.gguf import check_complete, read_header
from ossctl.settings import Paths

NANO = "nano"
GPT_OSS = "gpt-oss"  # general.architecture

NANO_FILE = DATA / "nano.gguf"

_GPT_OSS_NAMES = ("120b", "20b")  # the larger first
_SHA256_CHARACTERS = 64


@dataclass(frozen=True)
class ModelChoice:
    """A file to load. `warning` is what its user should know first; "" if there is nothing."""

    path: Path
    warning: str = ""


class NotHere(ModelError):
    """A model that `ossctl pull` can fetch is not on this machine; `reference` is what to pull."""

    def __init__(self, message: str, hint: str, reference: str) -> None:
        super().__init__(message, hint)
        self.reference = reference


def choose(reference: str | None, options: LoadOptions) -> ModelChoice:
    """What -m means; None is the largest gpt-oss model on this machine that fits it, loaded with `options`.

    Sizes and headers of all shards are checked, hashes are not: that a model was never verified is the
    warning. Raises NotHere, ModelError (incomplete, corrupt, no such name), UsageError (several are meant),
    MemoryShortage (there are gpt-oss models, and none fits).
    """
    if reference == NANO:
        return ModelChoice(_nano().first, "nano is a test and demo model that knows almost nothing.")
    model = _largest_gpt_oss(options) if reference is None else locate(reference)
    path = model.first
    for shard in model.files[1:]:  # whoever loads the model looks at the first one
        check_complete(shard, read_header(shard))
    _check_size(model)
    records = open_records()
    if path.exists():
        records.note_used(path)
    return ModelChoice(path, _warning(model, records))


def locate(reference: str) -> LocalModel:
    """The model on this machine that `reference` means. Raises ModelError, UsageError."""
    if reference == NANO:
        return _nano()
    if reference.startswith(PREFIX):
        return _of_the_hub(HubReference.parse(reference))
    entry = catalogue().find(reference)
    if entry is not None:
        return _of_the_catalogue(entry)
    if is_path(reference):
        return model_at(Path(reference))
    raise unknown_name(reference)


def hub_reference(reference: str) -> HubReference:
    """What `reference` means on the hub. Raises ModelError, UsageError for what is not there."""
    if reference == NANO:
        raise UsageError("nano is a part of ossctl: there is nothing to fetch", "Use it with -m nano.")
    if reference.startswith(PREFIX):
        return HubReference.parse(reference)
    entry = catalogue().find(reference)
    if entry is not None:
        return entry.variant.pinned
    if is_path(reference):
        raise UsageError(
            f"{reference} is a path, not a model to fetch", "For a repository write hf:ORG/REPO."
        )
    raise unknown_name(reference)


def has_nano() -> bool:
    """Whether this build holds nano: a checkout has to make it first."""
    return NANO_FILE.exists()


def names() -> list[str]:
    """Everything that `locate` knows by name, on this machine or not."""
    return [*_offered_nano(), *(entry.name for entry in catalogue().entries)]


def is_path(reference: str) -> bool:
    """Whether `reference` is written like a path, or is one. Raises UsageError for nothing at all."""
    if not reference.strip():
        raise UsageError("the model has no name", "`ossctl ls --all` shows every name.")
    path = Path(reference)
    return path.name != reference or bool(path.suffix) or path.exists()


def unknown_name(name: str) -> ModelError:
    """That nothing is called `name`, and what may have been meant."""
    nearest = catalogue().nearest(name, *_offered_nano())
    meant = f"Did you mean {' or '.join(nearest)}? " if nearest else ""
    return ModelError(f"no model is called {name}", f"{meant}`ossctl ls --all` shows every name.")


def open_records() -> FileRecords:
    """What is known of the files on this machine."""
    return FileRecords(Paths.from_environment().state / "models.db")


def all_models() -> list[LocalModel]:
    """Every model on this machine, those of the Hugging Face cache first; each file once."""
    models = [model for folder in repo_folders() for model in folder.models()]
    seen = {file.resolve() for model in models for file in model.files}
    for model in foreign_models():
        files = {file.resolve() for file in model.files}
        if not files <= seen:
            models.append(model)
            seen |= files
    return models


def expected_hash(model: LocalModel, file: Path) -> str:
    """The sha256 that `file` should have, in hexadecimal; "" where nobody has written it down.

    The Hugging Face cache and Ollama name contents by their hash; LM Studio keeps the repository's name. Only
    the first link tells: the cache may link on to a store where names are hashes of another kind.
    """
    name = (file.readlink() if file.is_symlink() else file).name.removeprefix("sha256-")
    if model.origin in (Origin.HUB, Origin.OLLAMA) and len(name) == _SHA256_CHARACTERS and name.isalnum():
        return name
    repo = model.repo or "/".join(Path(model.label).parts[:2])
    known = catalogue().known_file(repo, file.name)
    return known.sha256 if known else ""


def is_verified(model: LocalModel, records: FileRecords) -> bool:
    """Whether every file was seen to have the hash that it should have, and has not changed since."""
    return not model.missing and all(records.verified(file) for file in model.files)


def _of_the_hub(reference: HubReference) -> LocalModel:
    found = RepoFolder.of(reference.repo).find(reference)
    if found is None:
        hint = f"`ossctl pull {reference}` fetches it."
        raise NotHere(f"{reference} is not on this machine", hint, str(reference))
    return found


def _of_the_catalogue(entry: Entry) -> LocalModel:
    reference = entry.variant.reference
    found = RepoFolder.of(reference.repo).find(reference) or _elsewhere(reference)
    if found is None:
        raise NotHere(
            f"{entry.model.name} ({entry.variant.name}) is not on this machine",
            f"`ossctl pull {entry.name}` fetches it: {entry.variant.gigabytes} GB.",
            entry.name,
        )
    return found


def _elsewhere(reference: HubReference) -> LocalModel | None:
    """The same file of the same repository in LM Studio's folder, which is laid out by repository."""
    for model in foreign_models():
        repo, _, name = model.label.rpartition("/")
        if model.origin is Origin.LM_STUDIO and repo == reference.repo and reference.selects(name):
            return model
    return None


def recommended() -> Entry:
    """The gpt-oss model of the catalogue that is best for this machine, to be fetched where none is.

    That is the largest whose layers are all computed on GPUs, though experts may stay in RAM; without such
    a GPU the smallest, for the 120b would fit into RAM only to answer slowly.
    """
    return recommended_for(this_machine())


def recommended_for(machine: Machine) -> Entry:
    """The same for any machine."""
    *larger, smallest = (catalogue().entry(name) for name in _GPT_OSS_NAMES)
    return next((entry for entry in larger if _is_quick(entry, machine)), smallest)


def _is_quick(entry: Entry, machine: Machine) -> bool:
    shape = shipped_shape(entry.variant.reference)
    outcome = outcome_of(shape, machine) if shape else None
    return isinstance(outcome, Plan) and outcome.settings.gpu_layers == outcome.shape.n_layers + 1


def _offered_nano() -> list[str]:
    return [NANO] if has_nano() else []


def _nano() -> LocalModel:
    if not has_nano():
        raise ModelError(
            "nano is not in this build of ossctl", "In a checkout of its source, `make nano` makes it."
        )
    return LocalModel(NANO, Origin.PACKAGE, (NANO_FILE,))


def _largest_gpt_oss(options: LoadOptions) -> LocalModel:
    models = [model for model in all_models() if not model.missing and _is_gpt_oss(model)]
    if not models:
        entry = recommended()
        raise NotHere(
            "there is no gpt-oss model on this machine",
            f"`ossctl pull {entry.name}` fetches one, {entry.variant.gigabytes} GB; "
            f"{'-m nano tries things out at once' if has_nano() else '`ossctl ls -a` shows others'}.",
            entry.name,
        )
    machine = this_machine()
    shortages = []
    for model in sorted(models, key=lambda model: -model.n_bytes):
        shape = shape_of_file(model.first)
        outcome = outcome_of(shape, machine, overrides=options.overrides(shape))
        if not isinstance(outcome, DoesNotFit):
            return model
        shortages.append(outcome.error)
    why = shortages[-1]
    raise MemoryShortage(why.message, f"It is the smallest gpt-oss model here. {why.hint}")


def _is_gpt_oss(model: LocalModel) -> bool:
    try:
        return read_header(model.files[0]).architecture == GPT_OSS
    except ModelError:
        return False


def _check_size(model: LocalModel) -> None:
    """Raise ModelError if a file with a known hash has not the size that goes with it."""
    for file in model.files:
        known = catalogue().known_file(model.repo, file.name)
        size = file.stat().st_size if known else 0
        if known and known.sha256 == expected_hash(model, file) and size != known.n_bytes:
            raise ModelError(
                f"{file.name} is damaged: {size:,} bytes, it should have {known.n_bytes:,}",
                f"`ossctl pull {model.name}` fetches it again.",
            )


def _warning(model: LocalModel, records: FileRecords) -> str:
    checkable = any(expected_hash(model, file) for file in model.files)
    if not checkable or is_verified(model, records):
        return ""
    return f"{model.name} was never verified: `ossctl verify {model.name}` checks its sha256."
