"""Asks one loaded model the questions of all tasks, in all settings."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from time import monotonic

import msgspec
from inspect_ai._util.json import to_json_safe  # as logs are written
from inspect_ai.dataset import Sample as Asked
from inspect_ai.log import EvalSample
from inspect_ai.model import Model as InspectModel

from ossctl.app.eval.describing import describe_model
from ossctl.app.eval.folder import EvalFolder, NotWritten, TaskJournal
from ossctl.app.eval.inspect.engine import AsyncEngine
from ossctl.app.eval.inspect.provider import provider_for
from ossctl.app.eval.inspect.results import sample_of
from ossctl.app.eval.inspect.running import TaskRun, run_task
from ossctl.app.eval.inspect.settings import ProviderSettings
from ossctl.app.eval.inspect.tasks import LoadedTask
from ossctl.app.eval.job import EvalJob, Reasoning, Unit
from ossctl.app.eval.results import Evaluation, Model, Sample, TaskResult
from ossctl.app.eval.view import EvalView, Progress
from ossctl.app.inference.determinism import check_deterministic
from ossctl.app.inference.energy import EnergyMeter
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, load_model
from ossctl.app.inference.request import check_reasoning
from ossctl.app.library.references import Given
from ossctl.app.placement.load_options import LoadOptions
from ossctl.errors import Interrupted, OssctlError, UsageError
from ossctl.planning.workload import Purpose, Workload

# A judge shares the memory with the model that it judges: it gets what a verdict takes.
_JUDGE_CTX, _JUDGE_PARALLEL = 8_192, 4


@dataclass
class ModelRun:
    """The part of an evaluation that needs one model. `evaluation` grows with each task."""

    job: EvalJob
    folder: EvalFolder
    view: EvalView
    interrupt: Interrupt
    evaluation: Evaluation

    def run(self, given: Given, tasks: Sequence[LoadedTask]) -> list[OssctlError]:
        """Load the model and ask it everything; returns the errors of tasks, or that of the model.

        Raises Interrupted, after what is finished is written, NotWritten if the folder can't be written, and
        UsageError if the only model lacks what is asked for.
        """
        errors: list[OssctlError] = []
        try:
            with self._loaded(given) as (loaded, engine, judge):
                model = describe_model(given, loaded)
                devices = loaded.plan.settings.devices if loaded.plan else ()
                for reasoning in self._supported(loaded, given):
                    settings = self._settings(reasoning).for_model(loaded)
                    for task in tasks:
                        run = _UnitRun(self, engine, settings, judge, EnergyMeter.of_machine(devices))
                        errors += run.run(task, model)
        except (Interrupted, NotWritten):
            raise
        except OssctlError as error:
            if isinstance(error, UsageError) and len(self.job.models) == 1:
                raise
            self.view.remark(f"{given.name} failed: {error.message}. {error.hint}".removesuffix(". "))
            return [*errors, error]
        if not errors:
            self.folder.record.finished.append(given.name)
            self.folder.save()
        return errors

    def add(self, result: TaskResult, unit: Unit) -> None:
        """Put a result in the place of an earlier one of the same unit, and write everything."""
        results = [*self.evaluation.results]
        places = [place for place, each in enumerate(results) if unit.made(each)] or [len(results)]
        results[places[0] : places[0] + 1] = [result]
        self.evaluation = msgspec.structs.replace(self.evaluation, results=tuple(results))
        self.folder.write(self.evaluation)

    @contextmanager
    def _loaded(self, given: Given) -> Iterator[tuple[LoadedModel, AsyncEngine, InspectModel | None]]:
        """The model with its engine, and the judge. Raises as `load_model` does."""
        isolated = self.job.deterministic
        with ExitStack() as parts:
            judge = self._judge(given, parts)
            loaded = self._load(given, self.job.loading, parts)
            if isolated:
                check_deterministic(loaded.plan)
            engine = parts.enter_context(AsyncEngine(loaded, isolated=isolated))
            own = self.job.judge is not None and judge is None
            yield loaded, engine, provider_for(engine, ProviderSettings(), given.name) if own else judge

    def _judge(self, given: Given, parts: ExitStack) -> InspectModel | None:
        """The judge, unless it is the model itself."""
        judge = self.job.judge
        if judge is None or judge.path.resolve() == given.path.resolve():
            return None
        options = LoadOptions(_JUDGE_CTX, _JUDGE_PARALLEL, device=self.job.loading.device)
        loaded = self._load(judge, options, parts)
        return provider_for(parts.enter_context(AsyncEngine(loaded)), ProviderSettings(), judge.name)

    def _load(self, given: Given, options: LoadOptions, parts: ExitStack) -> LoadedModel:
        self.view.loading(given.name)
        loaded = parts.enter_context(load_model(given.path, options, Workload(Purpose.BATCH), self.interrupt))
        for remark in loaded.remarks:
            self.view.remark(f"{given.name}: {remark}")
        return loaded

    def _supported(self, loaded: LoadedModel, given: Given) -> list[Reasoning]:
        """The ways of reasoning that the model has. Of several models, some may have none.

        Raises UsageError if the only model lacks what is asked for.
        """
        kept: dict[Reasoning, None] = {}
        known = loaded.dialect.reasoning_settings
        for each in self.job.reasoning:
            lacking = {name for name in ("effort", "think") if getattr(each, name) and name not in known}
            if lacking and len(self.job.models) == 1:
                named = ", ".join(f"--{name}" for name in sorted(lacking))
                raise UsageError(f"{named} is not for {given.name}: its chat format has no such setting")
            kept[replace(each, **dict.fromkeys(lacking))] = None
            for name in sorted(lacking):
                self.view.remark(f"{given.name} has no --{name}, and is evaluated without it.")
        for each in kept:
            check_reasoning(loaded, think=each.think)
        return list(kept)

    def _settings(self, reasoning: Reasoning) -> ProviderSettings:
        defaults = replace(self.job.defaults, effort=reasoning.effort, think=reasoning.think)
        if len(self.job.models) > 1:
            defaults = replace(defaults, optional=defaults.optional | {"max_reasoning_tokens"})
        return ProviderSettings(defaults, self.job.tools)


@dataclass
class _UnitRun:
    """One task, with what one model and setting share."""

    whole: ModelRun
    engine: AsyncEngine
    settings: ProviderSettings
    judge: InspectModel | None
    energy: EnergyMeter

    def run(self, task: LoadedTask, model: Model) -> list[OssctlError]:
        """Ask what is not answered yet. Raises Interrupted and NotWritten."""
        job, folder = self.whole.job, self.whole.folder
        ids = folder.record.questions[task.spec.name]
        repeats = job.repeats or task.spec.repeats
        config = task.task.config.model_dump(exclude_none=True)
        setting = job.setting(self.settings.defaults, {**config, **job.settings})
        unit = Unit(task.spec, model, setting, repeats)
        if self._is_complete(unit, len(ids) * repeats):
            return []
        task.of_questions(ids)
        with folder.journal(unit.name) as journal:
            answers = _Answers(self, unit, journal, len(ids) * repeats)
            try:
                log = self._ask(task, unit, answers)
            except Interrupted:
                self.whole.add(answers.result(task, ""), unit)
                raise
            except NotWritten:
                raise
            except OssctlError as error:
                self.whole.view.remark(
                    f"{unit.label} failed: {error.message}. {error.hint}".removesuffix(". ")
                )
                return [error]
            result = answers.result(task, log)
            self.whole.add(result, unit)
        folder.forget_journal(unit.name)
        self.whole.view.finished(unit.label, result)
        return []

    def _is_complete(self, unit: Unit, n_answers: int) -> bool:
        for result in self.whole.evaluation.results:
            if unit.made(result) and result.model.fingerprint != unit.model.fingerprint:
                raise UsageError(f"{unit.model.name} has changed since", "Start a new evaluation.")
            if unit.made(result) and len(result.samples) == n_answers and result.log:
                return True
        return False

    def _ask(self, task: LoadedTask, unit: Unit, answers: "_Answers") -> str:
        provider = provider_for(self.engine, self.settings, unit.model.name)
        answers.begin(str(provider), task.task.dataset)
        run = TaskRun(
            task.task,
            unit.repeats,
            self.whole.folder.logs,
            answers.earlier,
            self.whole.job.settings,
            self.judge,
        )
        return run_task(run, provider, self.whole.interrupt, answers.add)


class _Answers:
    """The answers of a unit: those of earlier runs, and those that arrive."""

    def __init__(self, run: _UnitRun, unit: Unit, journal: TaskJournal, total: int) -> None:
        self._run = run
        self._unit = unit
        self._journal = journal
        self._samples: dict[tuple[str, int], Sample] = {}
        self._model = ""
        self._progress = Progress(unit.label, total)
        last = journal.earlier[-1] if journal.earlier else None
        self._seconds, self._wh = (last.seconds, last.wh) if last else (0.0, None)
        self._has_earlier = last is not None
        self._started = monotonic()
        found = run.energy.read()
        self._counted = None if found is None else found.wh
        self.earlier: list[EvalSample] = []

    def begin(self, model: str, dataset: Iterable[Asked]) -> None:
        """Take over what is finished; failed samples are asked again."""
        self._model = model
        targets = {sample.id: sample.target for sample in dataset}
        found: dict[tuple[int | str, int], EvalSample] = {}
        for entry in self._journal.earlier:
            each = EvalSample.model_validate_json(entry.sample)
            sample = sample_of(each, model)
            if sample.outcome != "failed" and targets.get(each.id) == each.target:
                found[each.id, each.epoch] = each
                self._samples[sample.id, sample.epoch] = sample
        self.earlier = [*found.values()]
        for sample in self._samples.values():
            self._progress.add(sample, earlier=True)
        self._run.whole.view.progress(self._progress)

    def add(self, found: EvalSample) -> None:
        """Keep a finished sample, and show it. Raises NotWritten."""
        self._journal.append(to_json_safe(found, indent=None), self.seconds, self.wh)
        sample = sample_of(found, self._model)
        self._samples[sample.id, sample.epoch] = sample
        self._progress.add(sample)
        self._progress.seconds = monotonic() - self._started
        if sample.outcome == "failed":
            self._run.whole.view.failed_sample(self._unit.label, sample)
        self._run.whole.view.progress(self._progress)

    @property
    def seconds(self) -> float:
        return self._seconds + monotonic() - self._started

    @property
    def wh(self) -> float | None:
        """Energy of all runs; None if any of them was not counted."""
        found = self._run.energy.read()
        if found is None or self._counted is None or (self._has_earlier and self._wh is None):
            return None
        return (self._wh or 0.0) + found.wh - self._counted

    def result(self, task: LoadedTask, log: str) -> TaskResult:
        """The result so far, its samples in the order of the questions."""
        places = {str(each.id): place for place, each in enumerate(task.task.dataset)}
        samples = sorted(self._samples.values(), key=lambda each: (places[each.id], each.epoch))
        asked = len(task.task.dataset)
        return TaskResult(
            task=self._unit.spec.name,
            model=self._unit.model,
            setting=self._unit.setting,
            repeats=self._unit.repeats,
            set_size=task.set_size if task.set_size > asked else None,
            samples=tuple(samples),
            seconds=round(self.seconds, 3),
            wh=self.wh,
            log=log,
        )
