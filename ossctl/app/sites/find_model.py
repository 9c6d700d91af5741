"""The model of a job that its site finds by itself."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic

from ossctl.app.library.pull import PullPlan, Transfer, plan_pull
from ossctl.app.library.resolve import NotPulled, check_name, choose, is_path, open_records
from ossctl.app.sites.site import SiteJob
from ossctl.config.alias import model_behind
from ossctl.errors import MemoryShortage, ModelError
from ossctl.hub.store import ModelPull

_REPORT_SECONDS = 30.0  # between reports of a pull


def reference_elsewhere(reference: str) -> str:
    """What `reference` means, for another machine. Raises ModelError and UsageError."""
    reference = model_behind(reference)
    check_name(reference)
    return str(Path(reference).absolute()) if is_path(reference) else reference


def find_model(job: SiteJob, say: Callable[[str], None]) -> Path:
    """The file of the job's model on this machine; it is pulled if it may be. Raises OssctlError."""
    if not job.reference:
        return job.model.path
    try:
        choice = choose(job.reference, job.model.options)
    except NotPulled as error:
        if not job.may_pull:
            raise ModelError(
                f"it does not have {job.reference}", "Add --pull to download it there."
            ) from None
        return _pull(plan_pull(error.reference, say), say)
    if choice.warning:
        say(choice.warning)
    return choice.path


def _pull(plan: PullPlan, say: Callable[[str], None]) -> Path:
    """Fetch a model on any thread, as the driver ends the process on a signal. Raises ModelError."""
    _check_fit(plan)
    said = monotonic()

    def report(transfer: Transfer) -> None:
        nonlocal said
        if monotonic() - said >= _REPORT_SECONDS:
            said = monotonic()
            status = f", {transfer.status}" if transfer.status else ""
            say(f"has {transfer.done / 1e9:.1f} of {transfer.total / 1e9:.1f} GB{status}")

    say(f"pulls {plan.reference}, {plan.to_fetch / 1e9:.1f} GB")
    return ModelPull(plan.model, open_records(), report, say).run().first


def _check_fit(plan: PullPlan) -> None:
    if not plan.fits_on_disk:
        lacking = f"{(plan.to_fetch - plan.free) / 1e9:.1f} GB more disk space"
        raise ModelError(f"{plan.reference} needs {lacking} in {plan.cache}", "Free some there.")
    if plan.shortage is not None:
        raise MemoryShortage(plan.shortage.error.message)
