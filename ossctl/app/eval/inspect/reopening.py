"""Tasks that are complete but for failed answers, and become incomplete so that these are asked again."""

from collections.abc import Iterator, Sequence

import msgspec
from inspect_ai._util.json import to_json_safe  # as logs are written
from inspect_ai.log import read_eval_log_samples

from ossctl.app.eval.folder import EvalFolder
from ossctl.app.eval.job import Unit
from ossctl.app.eval.results import TaskResult
from ossctl.app.eval.tasks import TaskSpec
from ossctl.errors import UsageError


def reopen_failed(folder: EvalFolder, specs: Sequence[TaskSpec]) -> None:
    """Have the next run ask again what failed in complete tasks. The other answers go into their journals.

    Raises UsageError if a log is missing, and OssctlError if the folder cannot be written.
    """
    evaluation = folder.evaluation()
    if evaluation is None:
        return
    by_name = {spec.name: spec for spec in specs}
    for result in evaluation.results:
        if not result.log or all(sample.outcome != "failed" for sample in result.samples):
            continue
        folder.reopen(result.model.name)
        unit = Unit(by_name[result.task], result.model, result.setting, result.repeats)
        folder.restore_journal(unit.name, result, _kept(folder, result))
        open_again = msgspec.structs.replace(result, log="")
        results = (open_again if each is result else each for each in evaluation.results)
        evaluation = msgspec.structs.replace(evaluation, results=tuple(results))
        folder.write(evaluation)


def _kept(folder: EvalFolder, result: TaskResult) -> Iterator[str]:
    """The samples of a log that have not failed, as JSON."""
    failed = {(sample.id, sample.epoch) for sample in result.samples if sample.outcome == "failed"}
    path = folder.logs / result.log
    try:
        for sample in read_eval_log_samples(path, all_samples_required=False, resolve_attachments="full"):
            if (str(sample.id), sample.epoch) not in failed:
                yield to_json_safe(sample, indent=None).decode()
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise UsageError(
            f"cannot read {path}: {said}", "--retry-failed needs the other answers in it."
        ) from None
