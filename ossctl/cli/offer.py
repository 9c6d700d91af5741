"""Choosing a model, with the offer to fetch one that is not there."""

from typing import TYPE_CHECKING

import typer

from ossctl.cli.output import say, somebody_to_ask
from ossctl.cli.pull import approve, carry_out, prepare

if TYPE_CHECKING:
    from ossctl.app.library.resolve import ModelChoice
    from ossctl.app.placement.load_options import LoadOptions


def choose_model(reference: str | None, options: "LoadOptions") -> "ModelChoice":
    """What -m means, for loading with `options`.

    On a terminal a model that is not here is offered to be fetched, never fetched unasked. Raises
    ModelError, UsageError, Interrupted.
    """
    from ossctl.app.library.resolve import NANO, NotPulled, choose, has_nano

    try:
        return choose(reference, options)
    except NotPulled as error:
        if not somebody_to_ask():
            raise
        missing = error
    say(f"{missing.message[0].upper()}{missing.message[1:]}.")
    if reference is None:
        say(f"The one for this machine is {missing.reference}:")
    plan = prepare(missing.reference)
    answer = _ask(*([NANO] if reference is None and has_nano() else []))
    if answer == NANO:
        return choose(NANO, options)
    if answer == "n":
        raise missing
    approve(plan, yes=False)
    carry_out(plan)
    return choose(missing.reference, options)


def _ask(*others: str) -> str:
    """`y`, `n` or one of `others`; Enter is yes."""
    choices = "/".join(("Y", "n", *others))
    look_around = ", or look around with nano" if others else ""
    while True:
        answer = typer.prompt(
            f"Fetch it{look_around}? [{choices}]", default="y", show_default=False, err=True
        )
        if answer.strip().lower() in ("y", "n", *others):
            return str(answer.strip().lower())
