"""`ossctl verify`: whether files are what they should be."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.interrupt import Interrupt
from ossctl.app.models import expected_hash, locate, open_records
from ossctl.errors import ModelError
from ossctl.models.hashing import sha256_of
from ossctl.models.hub import find_model
from ossctl.models.local import LocalModel
from ossctl.models.reference import HubReference
from ossctl.models.store import Transfer
from ossctl.runtime.gguf import check_complete, read_header

__all__ = ["Verdict", "verify_model"]


@dataclass(frozen=True)
class Verdict:
    """What was found of a file. `expected` is "" where nobody has written down its hash."""

    path: Path
    sha256: str
    expected: str
    problem: str


def verify_model(reference: str, watch: Callable[[Transfer], None]) -> list[Verdict]:
    """Check each file's structure against its header, and its hash against the record of it.

    That is the one of the cache, the catalogue or, where they have none, the hub. What is found is kept.
    Raises ModelError (not here, incomplete, no network), UsageError, Interrupted.
    """
    model = locate(reference)
    _ = model.first.stat() if model.first.exists() else read_header(model.first)
    records = open_records()
    total, before = model.n_bytes, 0
    verdicts = []
    with Interrupt() as interrupt:
        interrupt.on_signal = lambda: interrupt.check("What was verified so far is remembered.")
        for file in model.files:
            verdict = _verify(model, file, _from(before, total, watch))
            if verdict.problem:
                records.forget(file)
            elif verdict.expected:
                records.note_verified(file, verdict.sha256)
            verdicts.append(verdict)
            before += file.stat().st_size
    return verdicts


def _from(before: int, total: int, watch: Callable[[Transfer], None]) -> Callable[[int], None]:
    return lambda done: watch(Transfer(before + done, total))


def _verify(model: LocalModel, file: Path, watch: Callable[[int], None]) -> Verdict:
    expected = expected_hash(model, file)
    if not expected and model.repo:
        expected = _hash_of_the_hub(model, file)
    try:
        check_complete(file, read_header(file))
    except ModelError as error:
        return Verdict(file, "", expected, error.message)
    sha256 = sha256_of(file, watch)
    if expected and sha256 != expected:
        return Verdict(file, sha256, expected, f"{file} is damaged: its sha256 is {sha256}, not {expected}")
    return Verdict(file, sha256, expected, "")


def _hash_of_the_hub(model: LocalModel, file: Path) -> str:
    """For a cache without links (Windows), where contents are not named by their hash."""
    reference = HubReference(model.repo, model.label, model.commit)
    found = find_model(reference, lambda _seconds, _why: None)
    return next((each.sha256 for each in found.files if Path(each.name).name == file.name), "")
