"""`ossctl eval`: from a job to its results."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from ossctl.app.eval.describing import describe_machine, versions
from ossctl.app.eval.folder import EvalFolder
from ossctl.app.eval.inspect.model_run import ModelRun
from ossctl.app.eval.inspect.reopening import reopen_failed
from ossctl.app.eval.inspect.tasks import LoadedTask, load_task
from ossctl.app.eval.job import EvalJob
from ossctl.app.eval.results import Evaluation
from ossctl.app.eval.view import EvalView
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import explain_crashes
from ossctl.errors import ExitCode, Interrupted, OssctlError


@dataclass
class Outcome:
    """An evaluation, and what kept it from being complete."""

    evaluation: Evaluation
    errors: list[OssctlError] = field(default_factory=list)

    @property
    def interrupted(self) -> Interrupted | None:
        """The signal that ended it, if one did."""
        return next((error for error in self.errors if isinstance(error, Interrupted)), None)

    @property
    def exit_code(self) -> ExitCode:
        if self.interrupted is not None:
            return self.interrupted.exit_code
        results = self.evaluation.results
        if self.errors and not results:
            return self.errors[0].exit_code
        failed = any(sample.outcome == "failed" for result in results for sample in result.samples)
        return ExitCode.SOME_FAILED if self.errors or failed else ExitCode.DONE


def run_eval(job: EvalJob, folder: EvalFolder, view: EvalView) -> Outcome:
    """Ask all models all questions, and write results and reports after each task.

    A model or a task that fails, and a signal, end up in the outcome, with all that is finished. Raises
    UsageError before anything is loaded, and OssctlError if the folder cannot be written.
    """
    explain_crashes(f"Finished answers are in {folder.path}; --resume continues.")
    if job.retry_failed:
        with folder:
            reopen_failed(folder, job.tasks)
    earlier = folder.evaluation()
    evaluation = Evaluation(
        results=earlier.results if earlier else (),
        machine=describe_machine(),
        versions=versions(),
        date=folder.record.date,
    )
    outcome = Outcome(evaluation)
    models = [model for model in job.models if model.name not in folder.record.finished]
    if not models:
        return outcome
    with folder, Interrupt() as interrupt, closing(job.tools):
        try:
            tasks = _tasks(job, folder, view)
            interrupt.check()
            view.begins(folder.path)
            folder.remove_other_logs([result.log for result in evaluation.results])
            for model in models:
                run = ModelRun(job, folder, view, interrupt, outcome.evaluation)
                try:
                    outcome.errors += run.run(model, tasks)
                finally:
                    outcome.evaluation = run.evaluation
        except Interrupted as error:
            outcome.errors.append(error)
    return outcome


def _tasks(job: EvalJob, folder: EvalFolder, view: EvalView) -> Sequence[LoadedTask]:
    """The tasks, with the questions that are asked in the record of the folder. Raises OssctlError."""
    tasks = []
    for spec in job.tasks:
        view.reading(spec.name)
        tasks.append(load_task(spec, job.task_options))
    for task in tasks:
        if task.spec.name not in folder.record.questions:
            chosen = task.chosen(job.limit, job.sample, job.defaults.sampling.seed)
            folder.record.questions[task.spec.name] = chosen
    folder.save()
    return tasks
