"""`ossctl pull`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.options import VerboseOption, YesOption
from ossctl.cli.output import print_line, say, show_log
from ossctl.cli.transfer import gigabytes, transfer_progress
from ossctl.errors import ModelError

if TYPE_CHECKING:
    from ossctl.app.pull import LocalModel, PullPlan


def pull(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="20b, 120b, another name, or hf:ORG/REPO[:FILE-or-QUANT][@REVISION]."
        ),
    ],
    yes: YesOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Fetch a model, all of its parts, and verify it.

    It goes into the Hugging Face cache, which other tools share. A pull that was interrupted goes on where
    it was. The path of the model is printed at the end.
    """
    show_log(verbose)
    print_line(str(fetch(reference, yes=yes).first))


def fetch(reference: str, *, yes: bool) -> "LocalModel":
    """Say what will be fetched, ask where that is due, and do it. Raises ModelError, Interrupted."""
    from ossctl.app.pull import plan_pull
    from ossctl.app.pull import pull as run_pull

    plan = plan_pull(reference, say)
    approve(plan, yes=yes)
    with transfer_progress() as progress:
        model = run_pull(plan, progress.watch, progress.say)
    say(f"{model.name} is here, {gigabytes(plan.model.n_bytes)}, and its sha256 is verified.")
    return model


def approve(plan: "PullPlan", *, yes: bool) -> None:
    """Show what a pull takes. What does not fit is asked for, or off a terminal refused without -y."""
    files = plan.model.files
    parts = f" in {len(files)} parts" if len(files) > 1 else ""
    licence = f" · licence {plan.model.licence}" if plan.model.licence else ""
    say(f"{files[0].repo} · {Path(files[0].name).name} · {gigabytes(plan.model.n_bytes)}{parts}{licence}")
    if plan.remark:
        say(plan.remark)
    if plan.to_fetch:
        say(f"{gigabytes(plan.to_fetch)} to fetch into {plan.cache}, {gigabytes(plan.free)} free")
    if plan.fits_on_disk or yes:
        return
    lacking = f"{gigabytes(plan.to_fetch - plan.free)} too little on the disk of {plan.cache}"
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        raise ModelError(
            f"it does not fit: {lacking}", "Free some, set HF_HOME to another disk, or try it with -y."
        )
    if not typer.confirm(f"It does not fit: {lacking}. Fetch it anyway?", err=True):
        raise ModelError("Nothing was fetched.")
