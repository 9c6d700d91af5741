"""The figures of an evaluation: a row for each result, with what was published, and differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from statistics import fmean

from ossctl.app.eval.published import Figure, published_for
from ossctl.app.eval.results import Evaluation, Model, TaskResult
from ossctl.app.eval.statistics import (
    Difference,
    Estimate,
    Outcomes,
    count_outcomes,
    difference,
    difference_to,
    majority,
    mean_score,
    pass_at,
)


@dataclass(frozen=True)
class Row:
    """The figures of `result`. Without an answer, `score` is None. Tokens are means of all answers.

    `any_of` is pass@k and `most_of` is maj@k, for k repeats.
    """

    result: TaskResult
    n_questions: int
    score: Estimate | None
    outcomes: Outcomes
    any_of: Estimate | None
    most_of: Estimate | None
    reasoning_tokens: float
    answer_tokens: float
    tokens_per_second: float
    published: Figure | None
    to_published: Difference | None


@dataclass(frozen=True)
class Pair:
    """Two results of one task, and `second` minus `first` on the questions of both."""

    first: TaskResult
    second: TaskResult
    difference: Difference


def rows_of(evaluation: Evaluation) -> tuple[Row, ...]:
    """A row for each result, those of one task together."""
    tasks = by_task(evaluation)
    return tuple(_row(result) for results in tasks for result in results)


def pairs_of(evaluation: Evaluation) -> tuple[Pair, ...]:
    """Each result beside the first of its task with the same setting, and the first with the same model.

    Without either, beside the first of its task. Results without common questions are left out.
    """
    return tuple(pair for results in by_task(evaluation) for pair in _pairs(results))


def by_task(evaluation: Evaluation) -> list[list[TaskResult]]:
    """The results of each task, in the order in which tasks and results come."""
    tasks: dict[str, list[TaskResult]] = {}
    for result in evaluation.results:
        tasks.setdefault(result.task, []).append(result)
    return list(tasks.values())


def setting_of(result: TaskResult) -> str:
    """`high, Python`, or "" if the model has no such switch."""
    setting = result.setting
    thinking = {True: "thinking", False: "no thinking", None: ""}[setting.think]
    return ", ".join(filter(None, [setting.effort, thinking, "Python" if setting.python else ""]))


def model_of(model: Model) -> str:
    """The name of a model without its folder or owner, and without the quantisation that ends it."""
    name = PureWindowsPath(model.name).name or model.name  # takes both kinds of slashes
    plain, _, variant = name.rpartition(":")
    return plain if plain and variant.lower() == model.quantization.lower() else name


def label_of(result: TaskResult) -> str:
    """The model, its quantisation and the setting: what tells two results of one task apart."""
    name, quantization = model_of(result.model), result.model.quantization
    shown = "" if quantization.lower() in name.lower() else quantization
    return " · ".join(filter(None, [name, shown, setting_of(result)]))


def _row(result: TaskResult) -> Row:
    score = mean_score(result)
    samples = result.samples
    figure = next((figure for figure in published_for(result) if not figure.rating), None)
    reasoning, answer = (
        fmean(values) if samples else 0.0
        for values in ([s.reasoning_tokens for s in samples], [s.answer_tokens for s in samples])
    )
    repeated = result.repeats > 1
    return Row(
        result=result,
        n_questions=len({sample.id for sample in samples}),
        score=score,
        outcomes=count_outcomes(result),
        any_of=pass_at(result, result.repeats) if repeated else None,
        most_of=majority(result) if repeated else None,
        reasoning_tokens=reasoning,
        answer_tokens=answer,
        tokens_per_second=(reasoning + answer) * len(samples) / result.seconds if result.seconds else 0.0,
        published=figure,
        to_published=_to_published(score, figure) if score and figure else None,
    )


def _to_published(score: Estimate, figure: Figure) -> Difference:
    return difference_to(score, figure.value, figure.questions, figure.repeats)


def _pairs(results: Sequence[TaskResult]) -> Iterator[Pair]:
    for i, second in enumerate(results):
        for first in _beside(results[:i], second):
            found = difference(second, first)
            if found is not None:
                yield Pair(first, second, found)


def _beside(earlier: Sequence[TaskResult], result: TaskResult) -> list[TaskResult]:
    """What to compare `result` with, among those that come before it."""
    same_setting = [other for other in earlier if setting_of(other) == setting_of(result)][:1]
    same_model = [other for other in earlier if other.model == result.model][:1]
    repeated = same_model and same_setting and same_model[0] is same_setting[0]
    return [*same_setting, *([] if repeated else same_model)] or [*earlier[:1]]
