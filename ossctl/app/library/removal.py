"""`ossctl rm`: what it would free, then doing it."""

from pathlib import Path

from ossctl.app.library.resolve import NANO, hub_reference, is_path, locate, open_records
from ossctl.errors import ModelError, UsageError
from ossctl.hub.cache import RepoFolder
from ossctl.hub.catalogue import catalogue
from ossctl.hub.local import Origin
from ossctl.hub.reference import PREFIX, HubReference
from ossctl.hub.removal import Removal, removal_of

__all__ = ["Removal", "plan_removal", "remove"]


def plan_removal(reference: str) -> Removal:
    """What deleting a model takes, with what is there of an unfinished download of it.

    Raises ModelError (not here, no such name), UsageError (it is not in the Hugging Face cache).
    """
    if reference == NANO:
        raise UsageError("nano is a part of ossctl", "It goes with the package.")
    if is_path(reference) and catalogue().find(reference) is None and not reference.startswith(PREFIX):
        raise UsageError(f"{reference} is a path, not a model that was pulled", "Delete the file yourself.")
    wanted = hub_reference(reference)
    folder = RepoFolder.of(wanted.repo)
    model, parts = folder.find(wanted), _parts_of(folder, wanted)
    if model is None and not parts:
        _refuse_foreign(reference)
        raise ModelError(f"{reference} is not on this machine", "`ossctl ls` shows what is.")
    return removal_of(folder, model, parts)


def remove(removal: Removal) -> None:
    """Delete it. Raises ModelError where the system does not allow that."""
    records = open_records()
    for path in removal.contents:
        records.forget(path)
    try:
        removal.delete()
    except TimeoutError:
        raise ModelError("another program is fetching it just now", "Stop that first.") from None
    except OSError as error:
        hint = "Is a program using the model?"
        raise ModelError(f"cannot delete {error.filename}: {error.strerror}", hint) from None


def _refuse_foreign(reference: str) -> None:
    try:
        model = locate(reference)
    except ModelError:
        return
    if model.origin is not Origin.HUB:
        raise UsageError(f"{reference} belongs to {model.origin}: {model.files[0]}", "Delete it there.")


def _parts_of(folder: RepoFolder, wanted: HubReference) -> list[Path]:
    """Unfinished downloads of a model; all of the repository where the catalogue has no hashes to tell."""
    entries = [entry for entry in catalogue().entries if entry.variant.reference == wanted]
    hashes = {file.sha256 for entry in entries for file in entry.variant.files if file.sha256}
    return [part for part in folder.incomplete_files if not hashes or part.name.partition(".")[0] in hashes]
