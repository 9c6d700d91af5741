"""Asks for votes on pairs of answers."""

import signal
from typing import TYPE_CHECKING

from ossctl.cli.compare_view import ComparisonView
from ossctl.cli.output import Output
from ossctl.errors import ExitCode

if TYPE_CHECKING:
    from ossctl.app.compare.ballots import Mark
    from ossctl.app.compare.results import Comparison
    from ossctl.app.compare.store import Outputs

_QUESTION = "Which is better? [a/b, t: equally good, x: both bad, s: skip, q: quit]"
_MARKS: "dict[str, Mark]" = {"a": "a", "b": "b", "t": "tie", "x": "bad", "s": "skip"}


def take_votes(comparison: "Comparison", outputs: "Outputs", view: ComparisonView, out: Output) -> ExitCode:
    """Ask for a vote on each pair of answers that has none, and keep each at once."""
    from ossctl.app.compare.ballots import ballots, settle_equal

    found = ballots(comparison)
    waiting = settle_equal(comparison, found)
    if equal := len(found) - len(waiting):
        out.note(f"Of {len(found)} pairs, {equal} are the same word for word, and count as equally good.")
        outputs.keep(comparison, now=True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for number, ballot in enumerate(waiting, 1):
            view.ballot(ballot, f"{number} of {len(waiting)}")
            mark = _ask(out)
            if mark is None:
                break
            comparison.votes.append(ballot.vote(mark))
            outputs.keep(comparison, now=True)
    except KeyboardInterrupt:
        out.aside("\n")
        return ExitCode.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)
        left = len(ballots(comparison))
        if left:
            out.note(f"{left} of {len(found)} pairs have no vote; --resume continues.")
    return ExitCode.DONE


def _ask(out: Output) -> "Mark | None":
    """The user's mark, None to quit."""
    while True:
        answer = out.ask(_QUESTION)
        if answer is None or answer.lower() in ("q", "quit"):
            return None
        if (mark := _MARKS.get(answer.lower())) is not None:
            return mark
