"""`ossctl verify`: check the files of a model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.library.resolve import expected_hash, locate, open_records
from ossctl.errors import ModelError
from ossctl.hub.hashing import sha256_of
from ossctl.hub.hub import find_model
from ossctl.hub.local import LocalModel, Origin
from ossctl.hub.reference import HubReference
from ossctl.hub.store import Transfer
from ossctl.runtime.gguf import check_complete, read_header

__all__ = ["Verdict", "verify_model"]

_DOWNLOAD_AGAIN = "Delete it, and download it again."


@dataclass(frozen=True)
class Verdict:
    """The result for a file. `expected` is "" if the right hash is not known, `problem` if none was found."""

    path: Path
    sha256: str
    expected: str
    problem: str = ""
    hint: str = ""


def verify_model(reference: str, on_progress: Callable[[Transfer], None]) -> list[Verdict]:
    """Check that each file is complete and has the hash known to the cache, the catalogue or the hub.

    Records the results. Raises ModelError (not on this machine, not a model, incomplete, no network),
    UsageError and Interrupted.
    """
    model = locate(reference)
    read_header(model.first)  # raises if it is not a model at all
    records = open_records()
    verdicts: list[Verdict] = []
    before, total = 0, model.n_bytes
    with Interrupt() as interrupt:
        interrupt.on_signal = lambda: interrupt.check("Files that were verified so far are recorded.")
        for file in model.files:
            verdict = _verify(model, file, _with_offset(before, total, on_progress))
            if verdict.problem:
                records.forget(file)
            elif verdict.expected:
                records.note_verified(file, verdict.sha256)
            verdicts.append(verdict)
            before += file.stat().st_size
    return verdicts


def _with_offset(before: int, total: int, on_progress: Callable[[Transfer], None]) -> Callable[[int], None]:
    return lambda done: on_progress(Transfer(before + done, total))


def _verify(model: LocalModel, file: Path, on_progress: Callable[[int], None]) -> Verdict:
    expected = expected_hash(model, file)
    if not expected and model.repo:
        expected = _hash_on_hub(model, file)
    hint = f"`ossctl pull {model.name}` fetches it again." if model.origin is Origin.HUB else _DOWNLOAD_AGAIN
    try:
        check_complete(file, read_header(file))
    except ModelError as error:
        return Verdict(file, "", expected, error.message, hint)
    sha256 = sha256_of(file, on_progress)
    if expected and sha256 != expected:
        problem = f"{file} is damaged: its sha256 is {sha256}, not {expected}"
        return Verdict(file, sha256, expected, problem, hint)
    return Verdict(file, sha256, expected)


def _hash_on_hub(model: LocalModel, file: Path) -> str:
    """For a cache without symlinks (Windows), whose files are not named by hash."""
    reference = HubReference(model.repo, model.label, model.commit)
    found = find_model(reference, lambda _seconds, _why: None)
    return next((each.sha256 for each in found.files if Path(each.name).name == file.name), "")
