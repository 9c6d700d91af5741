"""`ossctl pull`: what it would take, then doing it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.library.resolve import all_models, hub_reference, open_records
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

__all__ = ["LocalModel", "PullPlan", "Transfer", "find_on_hub", "plan_pull", "pull"]

_KEPT = "What has arrived is kept: the same command goes on from there."
_NAMES = 5  # enough to choose from


@dataclass(frozen=True)
class PullPlan:
    """What a pull takes: `to_fetch` and `free` are bytes, `cache` is where it will be.

    `remark` is what the user should know of the files before; "" for nothing. `fit` is how the model
    would run on this machine, None if that cannot be told.
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
        """Why it could not run here, if that is so."""
        return self.fit if isinstance(self.fit, DoesNotFit) else None


def plan_pull(reference: str, say: Callable[[str], None]) -> PullPlan:
    """Ask the hub what `reference` is, and look at the disk and at this machine. `say` hears of retries.

    Raises ModelError (no such model, no access, no network), UsageError.
    """
    model = find_on_hub(reference, say)
    for name in (file.name for file in model.files if file.n_bytes > MAX_FILE_BYTES):
        raise ModelError(
            f"{name} is larger than the {MAX_FILE_BYTES / 1e9:.0f} GB that the hub sends in one piece",
            f"`hf download {model.files[0].repo} {name}` fetches it in pieces; ossctl finds it then.",
        )
    cache = hub_cache()
    remark, outcome = _remark(model), None
    try:
        outcome = fit_of(remote_shape(model), this_machine())
    except ModelError as error:  # the pull itself is more patient, and what it fetches is the user's choice
        remark = remark or f"How it would run here is not known: {error.message}."
    return PullPlan(reference, model, missing_bytes(model), free_bytes(cache), cache, remark, outcome)


def find_on_hub(reference: str, say: Callable[[str], None]) -> HubModel:
    """Ask the hub what `reference` is. `say` hears of retries.

    Raises ModelError (no such model, no access, no network), UsageError.
    """
    wanted = hub_reference(reference)

    def wait(seconds: float, why: str) -> None:
        if seconds >= 1:
            say(f"{why}; trying again in {seconds:.0f} s")
        time.sleep(seconds)

    try:
        return find_model(wanted, wait)
    except Unreachable as error:
        raise ModelError(error.message, f"{error.hint} {_on_this_machine()}") from None


def pull(plan: PullPlan, watch: Callable[[Transfer], None], say: Callable[[str], None]) -> LocalModel:
    """Fetch and verify. Raises ModelError, Interrupted; what has arrived stays."""
    with Interrupt() as interrupt:
        interrupt.on_signal = lambda: interrupt.check(_KEPT)  # out of whatever is waiting, at once
        try:
            return ModelPull(plan.model, open_records(), watch, say).run()
        except OssctlError:
            interrupt.check(_KEPT)
            raise


def _on_this_machine() -> str:
    names = [model.name for model in all_models() if not model.missing]
    if not names:
        return "No model is on this machine yet."
    return f"On this machine are {', '.join(names[:_NAMES])}{', …' if len(names) > _NAMES else ''}."


def _remark(model: HubModel) -> str:
    for file in model.files:
        known = catalogue().known_file(file.repo, file.name)
        if known and known.sha256 and known.sha256 != file.sha256:
            return (
                f"{file.name} on the hub is newer than this ossctl, so the hub's own sha256 is what counts."
            )
    return ""
