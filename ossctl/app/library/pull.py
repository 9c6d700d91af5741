"""`ossctl pull`: find out what a pull requires, then pull."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.library.resolve import all_models, hub_reference, open_records, verified_copy
from ossctl.app.placement.fit import DoesNotFit, Fit, fit_of
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.remote_shape import remote_shape
from ossctl.errors import ModelError, OssctlError
from ossctl.hub.cache import hub_cache
from ossctl.hub.catalogue import catalogue
from ossctl.hub.download import MAX_FILE_BYTES
from ossctl.hub.hub import HubModel, Unreachable, find_model
from ossctl.hub.local import LocalModel
from ossctl.hub.store import ModelPull, Transfer, free_bytes, missing_bytes

__all__ = [
    "LocalModel",
    "PullPlan",
    "Transfer",
    "Unreachable",
    "find_on_hub",
    "plan_pull",
    "pull",
    "verified_copy",
]

_RESUME_HINT = "Run the same command again to resume."
_MAX_NAMES = 5


@dataclass(frozen=True)
class PullPlan:
    """What a pull requires. `to_fetch` and `free` are bytes, `cache` is the target folder.

    `remark` is a note about the files for the user, "" if there is none. `fit` is None if the model cannot be
    planned.
    """

    reference: str
    model: HubModel
    to_fetch: int
    free: int
    cache: Path
    remark: str
    fit: Fit | None

    @property
    def fits_on_disk(self) -> bool:
        return self.to_fetch <= self.free

    @property
    def shortage(self) -> DoesNotFit | None:
        """Why the model cannot run on this machine, if that is known."""
        return self.fit if isinstance(self.fit, DoesNotFit) else None


def plan_pull(reference: str, say: Callable[[str], None]) -> PullPlan:
    """Ask the hub for the model, and check disk and memory. `say` is called before retries.

    Raises ModelError (no such model, no access, no network) and UsageError.
    """
    model = find_on_hub(reference, say)
    for name in (file.name for file in model.files if file.n_bytes > MAX_FILE_BYTES):
        raise ModelError(
            f"{name} is larger than the {MAX_FILE_BYTES / 1e9:.0f} GB that the hub serves over HTTP",
            f"Fetch it with `hf download {model.files[0].repo} {name}`; ossctl finds it in the cache.",
        )
    cache = hub_cache()
    remark, fit = _remark(model), None
    try:
        fit = fit_of(remote_shape(model), this_machine())
    except ModelError as error:  # the model can be pulled all the same
        remark = remark or f"Whether it fits this machine is not known: {error.message}."
    return PullPlan(reference, model, missing_bytes(model), free_bytes(cache), cache, remark, fit)


def find_on_hub(reference: str, say: Callable[[str], None]) -> HubModel:
    """Ask the hub for the model that `reference` means. `say` is called before retries.

    Raises ModelError (no such model, no access, no network) and UsageError.
    """
    wanted = hub_reference(reference)
    is_here = verified_copy(reference) is not None

    def wait(seconds: float, reason: str) -> None:
        if is_here:
            raise Unreachable(f"the hub does not answer: {reason}")
        if seconds >= 1:
            say(f"{reason}; retrying in {seconds:.0f} s")
        time.sleep(seconds)

    try:
        return find_model(wanted, wait)
    except Unreachable as error:
        raise Unreachable(error.message, f"{error.hint} {_local_models()}".strip()) from None


def pull(plan: PullPlan, on_progress: Callable[[Transfer], None], say: Callable[[str], None]) -> LocalModel:
    """Fetch and verify the model. Raises ModelError and Interrupted, after which a pull can be resumed."""
    with Interrupt() as interrupt:
        interrupt.on_signal = lambda: interrupt.check(_RESUME_HINT)  # raise at once, also while waiting
        try:
            return ModelPull(plan.model, open_records(), on_progress, say).run()
        except OssctlError:
            interrupt.check(_RESUME_HINT)
            raise


def _local_models() -> str:
    names = [model.name for model in all_models() if not model.missing]
    if not names:
        return "No model is on this machine yet."
    more = ", …" if len(names) > _MAX_NAMES else ""
    return f"On this machine: {', '.join(names[:_MAX_NAMES])}{more}."


def _remark(model: HubModel) -> str:
    for file in model.files:
        known = catalogue().known_file(file.repo, file.name)
        if known and known.sha256 and known.sha256 != file.sha256:
            return f"{file.name} on the hub is newer than this ossctl; it is verified with the hub's sha256."
    return ""
