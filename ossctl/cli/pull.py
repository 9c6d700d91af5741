"""`ossctl pull`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.options import TextOutput, YesOption
from ossctl.cli.output import Output
from ossctl.cli.transfer import gigabytes, transfer_progress
from ossctl.errors import MemoryShortage, ModelError
from ossctl.text import duration

if TYPE_CHECKING:
    from ossctl.app.library.pull import LocalModel, PullPlan

_TYPICAL_RATE = 100e6 / 8  # bytes per second of a home connection


@command
def pull(
    *,
    reference: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="20b, 120b, another name, or hf:ORG/REPO[:FILE-or-QUANT][@REVISION].",
        ),
    ],
    yes: YesOption = False,
    out: TextOutput,
) -> None:
    """Fetch a model and verify it.

    The model is stored in the Hugging Face cache, where other tools find it. An interrupted pull resumes
    where it stopped. The path of the model is printed at the end.
    """
    from ossctl.app.library.pull import Unreachable, verified_copy

    try:
        plan = prepare(reference, out)
    except Unreachable as error:
        model = verified_copy(reference)
        if model is None:
            raise
        out.note(f"{model.name} is here and verified. A newer one was not looked for: {error.message}.")
        out.text(str(model.first))
        return
    approve(plan, out, yes=yes)
    out.text(str(carry_out(plan, out).first))


def prepare(reference: str, out: Output) -> "PullPlan":
    """Plan a pull and show what it needs. Raises ModelError, UsageError."""
    from ossctl.app.library.pull import plan_pull
    from ossctl.cli.plan_view import in_one_line

    plan = plan_pull(reference, out.note)
    files = plan.model.files
    parts = f" in {len(files)} parts" if len(files) > 1 else ""
    licence = f" · licence {plan.model.licence}" if plan.model.licence else ""
    out.note(
        f"{files[0].repo} · {Path(files[0].name).name} · {gigabytes(plan.model.n_bytes)}{parts}{licence}"
    )
    if plan.remark:
        out.note(plan.remark)
    if plan.fit:
        out.note(f"on this machine: {in_one_line(plan.fit)}")
    if plan.to_fetch:
        time = f"{duration(plan.to_fetch / _TYPICAL_RATE)} at 100 Mbit/s"
        free = f"{gigabytes(plan.free)} free"
        out.note(f"{gigabytes(plan.to_fetch)} to fetch into {plan.cache}, {time}; {free}")
    return plan


def approve(plan: "PullPlan", out: Output, *, yes: bool) -> None:
    """Ask for confirmation if the model does not fit on the disk or in memory.

    Raises ModelError if the user declines. If there is no terminal to ask on, raises ModelError for the disk
    and MemoryShortage for memory.
    """
    if yes or not plan.to_fetch or (plan.fits_on_disk and plan.shortage is None):
        return
    lacking = []
    if not plan.fits_on_disk:
        lacking.append(f"{plan.cache} needs {gigabytes(plan.to_fetch - plan.free)} more disk space")
    if plan.shortage is not None:
        lacking.append(plan.shortage.error.message)
    if out.can_ask:
        if not out.confirm(f"It does not fit: {'; '.join(lacking)}. Fetch it anyway?"):
            raise ModelError("nothing was fetched")
    elif plan.fits_on_disk:
        raise MemoryShortage(lacking[0], f"`ossctl pull {plan.reference} -y` fetches it anyway.")
    else:
        hint = f"Free some space, set HF_HOME to another disk, or use `ossctl pull {plan.reference} -y`."
        raise ModelError(f"it does not fit: {'; '.join(lacking)}", hint)


def carry_out(plan: "PullPlan", out: Output) -> "LocalModel":
    """Fetch and verify a model, and show the progress. Raises ModelError, Interrupted."""
    from ossctl.app.library.pull import pull as run_pull

    with transfer_progress(out) as progress:
        model = run_pull(plan, progress.watch, progress.note)
    out.note(f"{model.name} is ready: {gigabytes(plan.model.n_bytes)}, SHA-256 verified.")
    return model
