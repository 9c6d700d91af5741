"""`ossctl verify`: whether files are what they should be."""

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

_AGAIN = "Delete it, and download it again."


@dataclass(frozen=True)
class Verdict:
    """What was found of a file: "" is no `problem`, and an `expected` hash that nobody has written down.

    `hint` says what to do about a problem.
    """

    path: Path
    sha256: str
    expected: str
    problem: str = ""
    hint: str = ""


def verify_model(reference: str, watch: Callable[[Transfer], None]) -> list[Verdict]:
    """Check each file's structure against its header, and its hash against the record of it.

    That is the one of the cache, the catalogue or, where they have none, the hub. What is found is kept.
    Raises ModelError (not here, incomplete, no network), UsageError, Interrupted.
    """
    model = locate(reference)
    read_header(model.first)  # what is no model at all is an error, not a finding
    records = open_records()
    verdicts: list[Verdict] = []
    before, total = 0, model.n_bytes
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
    again = f"`ossctl pull {model.name}` fetches it again." if model.origin is Origin.HUB else _AGAIN
    try:
        check_complete(file, read_header(file))
    except ModelError as error:
        return Verdict(file, "", expected, error.message, again)
    sha256 = sha256_of(file, watch)
    if expected and sha256 != expected:
        problem = f"{file} is damaged: its sha256 is {sha256}, not {expected}"
        return Verdict(file, sha256, expected, problem, again)
    return Verdict(file, sha256, expected)


def _hash_of_the_hub(model: LocalModel, file: Path) -> str:
    """For a cache without links (Windows), where contents are not named by their hash."""
    reference = HubReference(model.repo, model.label, model.commit)
    found = find_model(reference, lambda _seconds, _why: None)
    return next((each.sha256 for each in found.files if Path(each.name).name == file.name), "")
