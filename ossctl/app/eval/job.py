"""What `ossctl eval` is asked to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args

from ossctl.app.eval.question import GraderName
from ossctl.app.eval.results import Model, Setting, TaskResult
from ossctl.app.eval.tasks import TaskOptions, TaskSpec, arguments_of, specs_of
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.options import GenerationOptions, several
from ossctl.app.library.references import Given, refuse_think
from ossctl.app.local_date import local_date
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.tools.options import ToolOptions
from ossctl.app.tools.toolbox import Toolbox
from ossctl.dialect import Effort, Think
from ossctl.errors import UsageError

_SWITCHES: Mapping[Think | None, bool] = {"on": True, "off": False}


@dataclass(frozen=True)
class Reasoning:
    """How a model is to reason; None is its own way."""

    effort: Effort | None = None
    think: Think | None = None


@dataclass(frozen=True)
class EvalJob:
    """Models and tasks, and what is the same for all of them.

    `settings` are those of the sampling that the user gives, which replace a task's own; they are named as in
    Inspect. Without `repeats`, tasks are repeated as often as their published figures were.
    """

    models: Sequence[Given]
    tasks: Sequence[TaskSpec]
    task_options: TaskOptions
    reasoning: Sequence[Reasoning]
    defaults: Defaults
    settings: Mapping[str, Any]
    loading: LoadOptions
    tools: Toolbox = field(default_factory=Toolbox)
    repeats: int | None = None
    limit: int | None = None
    sample: int | None = None
    judge: Given | None = None
    deterministic: bool = False
    retry_failed: bool = False

    @property
    def has_python(self) -> bool:
        return any(tool.name == "python" for tool in self.tools.offered)

    def setting(self, defaults: Defaults, own: Mapping[str, Any]) -> Setting:
        """The setting of a task with these defaults of requests, for the report; `own` are the task's."""
        sampling = defaults.sampling
        return Setting(
            effort=defaults.effort,
            think=_SWITCHES.get(defaults.think),
            temperature=own.get("temperature", sampling.temperature),
            top_p=own.get("top_p", sampling.top_p),
            seed=sampling.seed,
            max_tokens=own.get("max_tokens", defaults.max_tokens),
            max_reasoning_tokens=defaults.max_reasoning_tokens,
            python=self.has_python,
        )


@dataclass(frozen=True)
class Unit:
    """One task with one model in one setting. `name` is that of its journal."""

    spec: TaskSpec
    model: Model
    setting: Setting
    repeats: int

    @property
    def label(self) -> str:
        thinking = {True: "thinking", False: "no thinking", None: ""}[self.setting.think]
        return " · ".join(filter(None, [self.spec.name, self.model.name, self.setting.effort, thinking]))

    @property
    def name(self) -> str:
        kept = (each if each.isalnum() or each in "-_." else "-" for each in self.label.replace(" · ", "."))
        return "".join(kept)[-150:]

    def made(self, result: TaskResult) -> bool:
        """Whether `result` is of this unit, complete or not."""
        ours = (self.spec.name, self.model.name, self.setting)
        return (result.task, result.model.name, result.setting) == ours


@dataclass(frozen=True)
class EvalOptions:
    """The options of the command line. Efforts and switches of the reasoning are separated by commas.

    `explicit` are the names of the options of the sampling that the user has given.
    """

    tasks: Sequence[str] = ()
    arguments: Sequence[str] = ()
    efforts: str = ""
    thinks: str = ""
    repeats: int | None = None
    limit: int | None = None
    sample: int | None = None
    grader: str | None = None
    deterministic: bool = False
    retry_failed: bool = False
    explicit: frozenset[str] = frozenset()

    def check(self) -> None:
        """Raise UsageError for what is invalid with any model."""
        if self.limit is not None and self.sample is not None:
            raise UsageError("--limit and --sample cannot be combined")
        specs_of(self.tasks)
        arguments_of(self.arguments)
        self._reasoning()

    def job(
        self,
        models: Sequence[Given],
        judge: Given | None,
        generation: GenerationOptions,
        tools: ToolOptions,
        loading: LoadOptions,
    ) -> EvalJob:
        """Raises UsageError for options that contradict each other or are invalid."""
        reasoning = self._reasoning()
        is_standing = "think" in generation.from_environment
        if any(each.think for each in reasoning) and not loading.template and not is_standing:
            refuse_think(models)
        toolbox = tools.toolbox()
        defaults = replace(generation.defaults(), today=local_date(), tools=toolbox.offered)
        _refuse_twice(models)
        return EvalJob(
            models,
            specs_of(self.tasks),
            TaskOptions(arguments_of(self.arguments), self._grader(), judge is not None),
            reasoning,
            defaults,
            self._settings(generation),
            loading,
            toolbox,
            self.repeats,
            self.limit,
            self.sample,
            judge,
            self.deterministic,
            self.retry_failed,
        )

    def _grader(self) -> GraderName | None:
        return None if self.grader is None else GraderName(self.grader)

    def _reasoning(self) -> list[Reasoning]:
        efforts: list[Effort | None] = [
            cast("Effort", each) for each in several(self.efforts, "--effort", *get_args(Effort))
        ]
        thinks = [
            None if each == "auto" else cast("Think", each)
            for each in several(self.thinks, "--think", "on", "off", "auto")
        ]
        return [Reasoning(effort, think) for effort in efforts or [None] for think in thinks or [None]]

    def _settings(self, generation: GenerationOptions) -> dict[str, Any]:
        named = {name: getattr(generation, name) for name in sorted(self.explicit)}
        return {name: value for name, value in named.items() if value is not None}


def _refuse_twice(models: Sequence[Given]) -> None:
    seen: dict[object, Given] = {}
    for model in models:
        other = seen.setdefault(model.path.resolve(), model)
        if other is not model:
            raise UsageError(f"{other.reference} and {model.reference} are the same model")
        if any(model.name == each.name for each in seen.values() if each is not model):
            raise UsageError(f"two models are named {model.name}", "Results are told apart by these names.")
