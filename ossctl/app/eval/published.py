"""What the makers of models have published, with sources: `data/published.toml`."""

import functools
import re
import tomllib

import msgspec

from ossctl.app.eval.results import TaskResult
from ossctl.data import DATA

# What may follow a model's name in that of a file: quantisation, shard, format. Anything else: another model.
_QUANTIZATION = re.compile(
    r"(-(gguf|ud|i1|imat|mxfp4(-moe)?|nvfp4|fp8|b?f16|f32|[it]?q\d(-(k|[01]|[xsmln]+))*|\d{5}-of-\d{5}))*"
)
_UPLOADERS = re.compile(r"^(openai|qwen|deepseek-ai)-")


class Source(msgspec.Struct, frozen=True):
    """Where figures stand, and under which conditions they were measured. `date` is YYYY-MM."""

    title: str
    url: str
    date: str
    conditions: str = ""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One published figure: a share from 0 to 1, or a rating.

    What is None in `effort`, `think` and `tools` does not apply, in `questions` and `repeats` is unknown.
    """

    model: str
    task: str
    value: float
    rating: bool
    effort: str | None
    think: bool | None
    tools: bool | None
    questions: int | None
    repeats: int | None
    where: str
    source: Source


class Cell(msgspec.Struct, frozen=True):
    """What a table says, and what its source says: `sourced` and `note` where they differ."""

    shown: str
    about: str
    source: str
    sourced: str = ""
    note: str = ""


class ComparisonRow(msgspec.Struct, frozen=True):
    """A row of the comparison, with a cell for each of its models."""

    title: str
    cells: tuple[Cell, ...]


class Comparison(msgspec.Struct, frozen=True):
    """A widely copied comparison of three models, checked against its sources."""

    models: tuple[str, ...]
    rows: tuple[ComparisonRow, ...]


class _Task(msgspec.Struct, frozen=True):
    title: str
    questions: int | None = None
    rating: bool = False
    also: tuple[str, ...] = ()


class _Model(msgspec.Struct, frozen=True):
    names: tuple[str, ...]
    total: float | None = None
    active: float | None = None
    source: str | None = None
    thinks: bool | None = None


class _Figures(msgspec.Struct, frozen=True):
    model: str
    source: str
    where: str
    scores: dict[str, float]
    effort: str | None = None
    think: bool | None = None
    tools: bool | None = None
    repeats: int | None = None


class _File(msgspec.Struct, frozen=True):
    sources: dict[str, Source]
    tasks: dict[str, _Task]
    models: dict[str, _Model]
    figures: tuple[_Figures, ...]
    comparison: Comparison


def published_for(result: TaskResult) -> tuple[Figure, ...]:
    """The figures for the model, task, effort and tools of `result`, in the order of their file.

    gpt-oss without an effort works at medium, and models that can think or not do as their template says.
    """
    model = _model_of(result.model.file) or _model_of(result.model.name)
    task = _task_of(result.task)
    setting = result.setting
    return tuple(
        figure
        for figure in all_figures()
        if (figure.model, figure.task) == (model, task)
        and figure.effort in (None, setting.effort or "medium")
        and figure.think in (None, _thinks(figure.model) if setting.think is None else setting.think)
        and figure.tools in (None, setting.python)
    )


@functools.cache
def all_figures() -> tuple[Figure, ...]:
    """Every figure."""
    file = _read()
    return tuple(
        Figure(
            model=group.model,
            task=task,
            value=score if file.tasks[task].rating else score / 100,
            rating=file.tasks[task].rating,
            effort=group.effort,
            think=group.think,
            tools=group.tools,
            questions=file.tasks[task].questions,
            repeats=group.repeats,
            where=group.where,
            source=file.sources[group.source],
        )
        for group in file.figures
        for task, score in group.scores.items()
    )


def comparison() -> Comparison:
    """The comparison that `ossctl eval` prints beside its own figures."""
    return _read().comparison


def source(name: str) -> Source:
    """The source that a cell of the comparison names."""
    return _read().sources[name]


def title_of(task: str) -> str:
    """A task's name as it is written, its own if it isn't known."""
    name = _task_of(task)
    return _read().tasks[name].title if name else task


def _model_of(name: str) -> str | None:
    """The model of a file or a name, in any quantisation. One that was trained further has another name."""
    plain = re.sub(r"[._:]", "-", name.rpartition("/")[2].lower())
    plain = _UPLOADERS.sub("", plain)
    for model, known in _read().models.items():
        for prefix in known.names:
            if plain.startswith(prefix) and _QUANTIZATION.fullmatch(plain.removeprefix(prefix)):
                return model
    return None


def _task_of(name: str) -> str | None:
    plain = name.rpartition("/")[2].lower().replace("_", "-")
    for task, known in _read().tasks.items():
        if plain in (task, *known.also):
            return task
    return None


def _thinks(model: str) -> bool | None:
    return _read().models[model].thinks


@functools.cache
def _read() -> _File:
    text = (DATA / "published.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _File)
