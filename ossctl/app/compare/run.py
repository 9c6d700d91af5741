"""`ossctl compare`: from a job to its outcome."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby

from ossctl.app.compare.contestants import Entrant
from ossctl.app.compare.job import CompareJob
from ossctl.app.compare.judging import judge_all
from ossctl.app.compare.results import Comparison
from ossctl.app.compare.stage import Stage
from ossctl.app.compare.store import NotWritten
from ossctl.app.compare.tournament import Tournament
from ossctl.app.compare.view import CompareView
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import explain_crashes
from ossctl.errors import ExitCode, Interrupted, OssctlError


@dataclass
class Outcome:
    """A comparison, and what kept it from being complete.

    `errors` are those of contestants and of the judge; `ended_by` ended it before its time.
    """

    comparison: Comparison
    errors: list[OssctlError] = field(default_factory=list)
    ended_by: Interrupted | NotWritten | None = None

    @property
    def exit_code(self) -> ExitCode:
        if self.ended_by is not None:
            return self.ended_by.exit_code
        comparison = self.comparison
        if self.errors and not comparison.answers:
            return self.errors[0].exit_code
        failed = any(answer.error for answer in comparison.answers.values())
        failed = failed or any(verdict.ruling == "failed" for verdict in comparison.verdicts)
        return ExitCode.SOME_FAILED if self.errors or failed else ExitCode.DONE


def run_compare(job: CompareJob, view: CompareView) -> Outcome:
    """Answer all prompts with all contestants, and have the judge compare the answers.

    A contestant that fails, a signal and an output that cannot be written end up in the outcome, with all
    that is finished. Raises UsageError and NotWritten before anything is loaded.
    """
    kept = job.outputs.kept
    explain_crashes(f"Finished answers are in {kept}; use --resume." if kept else "The answers are lost.")
    outcome = Outcome(job.start())
    job.outputs.write(outcome.comparison)
    with Interrupt() as interrupt, closing(job.tools):
        stage = Stage(job, outcome.comparison, view, interrupt)
        try:
            tournament = Tournament(stage)
            for group in _by_model(job.entrants):
                outcome.errors += tournament.play(group)
            if job.judge is not None:
                outcome.errors += judge_all(stage, job.judge)
        except (Interrupted, NotWritten) as error:
            outcome.ended_by = error
    if not isinstance(outcome.ended_by, NotWritten):
        job.outputs.write(outcome.comparison)
    return outcome


def _by_model(entrants: Sequence[Entrant]) -> list[list[Entrant]]:
    """Those that share a loaded model together, in the order of their first ones."""
    places = list(dict.fromkeys(entrant.place for entrant in entrants))
    ordered = sorted(entrants, key=lambda entrant: places.index(entrant.place))
    return [[*group] for _, group in groupby(ordered, lambda entrant: entrant.place)]
