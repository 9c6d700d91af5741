"""Has a loaded model judge all pairs of answers."""

from collections.abc import Sequence

from ossctl.app.compare.answering import Answering, Finished
from ossctl.app.compare.contestants import Entrant
from ossctl.app.compare.judge import MAX_TOKENS, Matter
from ossctl.app.compare.results import Comparison
from ossctl.app.compare.stage import Stage
from ossctl.app.compare.store import NotWritten
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.library.references import Given
from ossctl.app.tools.toolbox import Toolbox
from ossctl.errors import Interrupted, OssctlError
from ossctl.planning.workload import Purpose, Workload

_LIKELY_TOKENS = MAX_TOKENS // 8  # of an opinion with its reasoning


def judge_all(stage: Stage, judge: Given) -> list[OssctlError]:
    """Judge each pair of answers that has no verdict, in both orders. Returns why the judge failed, if so.

    Raises Interrupted and NotWritten.
    """
    matters = unjudged(stage.comparison, judge.name)
    if not matters:
        return []
    texts = [spec.likely_tokens[0] for matter in matters for spec in matter.specs(0)]
    workload = Workload(Purpose.BATCH, len(texts), prompt_tokens=max(texts), answer_tokens=_LIKELY_TOKENS)
    errors: list[OssctlError] = []
    try:
        with stage.loaded(f"judge {judge.name}", Entrant(judge.name, judge), workload) as (model, _):
            _judge(stage, judge.name, matters, model)
    except (Interrupted, NotWritten):
        raise
    except OssctlError as error:
        errors = [error]
        stage.view.remark(f"The judge {judge.name} failed: {error.message}. {error.hint}".strip())
    stage.save()
    return errors


def unjudged(comparison: Comparison, judge: str) -> list[Matter]:
    """The pairs of answers without a verdict of this judge."""
    done = {
        (each.prompt, frozenset((each.first, each.second)))
        for each in comparison.verdicts
        if each.judge == judge
    }
    return [
        Matter(prompt, first, second)
        for prompt, first, second in comparison.comparable()
        if (prompt.id, frozenset((first.contestant, second.contestant))) not in done
    ]


def _judge(stage: Stage, name: str, matters: Sequence[Matter], model: LoadedModel) -> None:
    specs = [spec for matter in matters for spec in matter.specs(stage.comparison.head.seed)]
    opinions: dict[int, Finished] = {}

    def finished(index: int, opinion: Finished) -> None:
        opinions[index] = opinion
        there, back = index // 2 * 2, index // 2 * 2 + 1
        if there in opinions and back in opinions:
            verdict = matters[index // 2].verdict(name, opinions[there], opinions[back])
            stage.comparison.verdicts.append(verdict)
            stage.keep()

    def tick(tokens: int) -> None:
        stage.view.answering(f"judge {name}", len(opinions), len(specs), tokens)

    with Answering(model, Toolbox(), stage.interrupt) as answering:
        answering.answer(specs, finished, tick)
    order = {prompt.id: number for number, prompt in enumerate(stage.comparison.prompts)}
    stage.comparison.verdicts.sort(key=lambda verdict: order[verdict.prompt])
    stage.view.judged(name, len(opinions))
