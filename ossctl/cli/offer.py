"""Choosing a model, and offering to fetch one that is not on this machine."""

from typing import TYPE_CHECKING

from ossctl.cli.output import Output
from ossctl.cli.pull import approve, carry_out, prepare

if TYPE_CHECKING:
    from pathlib import Path

    from ossctl.app.library.resolve import ModelChoice
    from ossctl.app.placement.load_options import LoadOptions


def choose_model(reference: str | None, options: "LoadOptions", out: Output) -> "ModelChoice":
    """Find the model that -m names, to be loaded with `options`.

    If it is not on this machine, offer on a terminal to fetch it. Raises ModelError, UsageError, Interrupted.
    """
    from ossctl.app.library.resolve import NANO, NotPulled, choose, has_nano

    try:
        return choose(reference, options)
    except NotPulled as error:
        if not out.can_ask:
            raise
        missing = error
    out.warning(f"{missing.message[0].upper()}{missing.message[1:]}.")
    if reference is None:
        out.warning(f"Recommended for this machine: {missing.reference}")
    plan = prepare(missing.reference, out)
    answer = _ask(out, *([NANO] if reference is None and has_nano() else []))
    if answer == NANO:
        return choose(NANO, options)
    if answer == "n":
        raise missing
    approve(plan, out, yes=False)
    carry_out(plan, out)
    return choose(missing.reference, options)


def model_file(reference: str | None, options: "LoadOptions", out: Output) -> "Path":
    """Choose a model, print any warning about it, and return its file. Raises what `choose_model` raises."""
    choice = choose_model(reference, options, out)
    if choice.warning:
        out.warning(choice.warning)
    return choice.path


def _ask(out: Output, *others: str) -> str:
    """Ask for `y`, `n` or one of `others`; Enter means yes."""
    choices = "/".join(("Y", "n", *others))
    or_try = f", or try {others[0]} first" if others else ""
    while True:
        answer = out.ask(f"Fetch it{or_try}? [{choices}]")
        chosen = "n" if answer is None else answer.lower() or "y"
        if chosen in ("y", "n", *others):
            return chosen
