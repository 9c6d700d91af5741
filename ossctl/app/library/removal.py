"""`ossctl rm`: find out what deleting a model frees, then delete it."""

from pathlib import Path

from ossctl.app.library.resolve import NANO, hub_reference, is_path, locate, open_records
from ossctl.config.alias import model_behind
from ossctl.errors import ModelError, UsageError
from ossctl.hub.cache import RepoFolder
from ossctl.hub.catalogue import catalogue
from ossctl.hub.local import Origin
from ossctl.hub.reference import HubReference
from ossctl.hub.removal import Removal, removal_of

__all__ = ["Removal", "plan_removal", "remove"]


def plan_removal(reference: str) -> Removal:
    """The files to delete for a model, partial downloads included.

    Raises ModelError (not on this machine, unknown name) and UsageError (not in the Hugging Face cache).
    """
    reference = model_behind(reference)
    if reference == NANO:
        raise UsageError("nano is part of ossctl and cannot be deleted", "Uninstall ossctl to remove it.")
    entry = catalogue().find(reference)
    if entry is None and is_path(reference):
        raise UsageError(f"{reference} is a path, not a pulled model", "Delete the file yourself.")
    wanted = entry.variant.reference if entry else hub_reference(reference)
    folder = RepoFolder.of(wanted.repo)
    model, incomplete = folder.find(wanted), _incomplete_files(folder, wanted)
    if model is None and not incomplete:
        _check_origin(reference)
        raise ModelError(f"{reference} is not on this machine", "`ossctl ls` lists the models that are.")
    return removal_of(folder, model, incomplete)


def remove(removal: Removal) -> None:
    """Delete the files and their records. Raises ModelError."""
    records = open_records()
    for path in removal.contents:
        records.forget(path)
    try:
        removal.delete()
    except TimeoutError:
        raise ModelError("another program is fetching this model", "Stop it first.") from None
    except OSError as error:
        hint = "Is a program using the model?"
        raise ModelError(f"cannot delete {error.filename}: {error.strerror}", hint) from None


def _check_origin(reference: str) -> None:
    """Raise UsageError if the model belongs to another program."""
    try:
        model = locate(reference)
    except ModelError:
        return
    if model.origin is not Origin.HUB:
        raise UsageError(f"{reference} belongs to {model.origin}: {model.files[0]}", "Delete it there.")


def _incomplete_files(folder: RepoFolder, wanted: HubReference) -> list[Path]:
    """Partial downloads of the repository, or those known to be of the model in it that is selected."""
    if not wanted.selector:
        return folder.incomplete_files
    hashes = catalogue().hashes_of(wanted)
    return [path for path in folder.incomplete_files if path.name.partition(".")[0] in hashes]
