"""Results of evaluations, made of scores."""

from collections.abc import Iterable, Sequence

from ossctl.app.eval.results import Model, Sample, Setting, TaskResult

NANO = Model(name="nano", file="nano.gguf", fingerprint="n", quantization="F16", context=512, n_sequences=8)


def result(
    samples: Iterable[Sample],
    task: str = "own",
    model: Model = NANO,
    effort: str | None = None,
    python: bool = False,
    repeats: int = 1,
    wh: float | None = None,
    set_size: int | None = None,
) -> TaskResult:
    return TaskResult(
        task=task,
        model=model,
        setting=Setting(effort=effort, temperature=1.0, top_p=1.0, python=python),
        repeats=repeats,
        samples=tuple(samples),
        seconds=60.0,
        wh=wh,
        set_size=set_size,
    )


def result_of(questions: Sequence[Sequence[float]]) -> TaskResult:
    """The scores of every question's repeats."""
    return result(
        Sample(
            id=str(number),
            epoch=epoch,
            outcome="correct" if score == 1 else "wrong",
            score=score,
            target="1",
            given="1" if score == 1 else "2",
        )
        for number, scores in enumerate(questions)
        for epoch, score in enumerate(scores, 1)
    )
