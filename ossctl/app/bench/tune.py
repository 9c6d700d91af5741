"""What other settings would bring: measured beside the plan's, in turns."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from ossctl.app.bench.estimate import Estimate, ratio_of
from ossctl.app.bench.options import BenchOptions, Watcher
from ossctl.app.bench.passes import EngineSide, Pass, Work
from ossctl.app.bench.results import Change, Tuning
from ossctl.app.bench.rounds import repeat
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.placement.runtime_options import context_options, model_options
from ossctl.errors import MemoryShortage
from ossctl.planning.plan import Plan
from ossctl.planning.settings import Settings
from ossctl.planning.shape import KvType
from ossctl.runtime.context import LlamaRunner
from ossctl.runtime.model import LlamaModel

_WORK = Work(1, 512, 32)
_UBATCHES = (128, 256, 512, 1024, 2048)
_WORTH_IT = 1.02  # times as fast


@dataclass(frozen=True)
class Candidate:
    """Settings that differ from the plan's in one way. `option` is "" if no option sets them."""

    name: str
    value: str
    planned: str
    option: str
    settings: Settings


def tune(plan: Plan, options: BenchOptions, watcher: Watcher, interrupt: Interrupt) -> Tuning:
    """Measure changes of the plan, and what those that are significantly faster bring together."""
    trial = _Trial(plan, options, interrupt)
    changes: list[Change] = []
    better: list[tuple[Candidate, Change]] = []
    for candidate in candidates(plan):
        watcher.step(f"{candidate.name} {candidate.value} instead of {candidate.planned}")
        if (change := trial.compare(candidate)) is not None:
            changes.append(change)
            if candidate.option and is_better(change):
                better.append((candidate, change))
        if not interrupt.keep_going():
            return Tuning(changes=changes, suggested=[])
    chosen = best_of_each(better)
    if not chosen:
        return Tuning(changes=changes, suggested=[])
    if len(chosen) == 1:
        candidate, change = chosen[0]
        return Tuning(changes=changes, suggested=[candidate.option], together=change)
    watcher.step("all of the faster settings together")
    together = trial.compare(combined(plan, [candidate for candidate, _ in chosen]))
    if together is None or not is_better(together):
        return Tuning(changes=changes, suggested=[], together=together)
    return Tuning(changes=changes, suggested=[candidate.option for candidate, _ in chosen], together=together)


def candidates(plan: Plan) -> Iterator[Candidate]:
    """Other values of each setting that decides speed; those that the user has fixed stay."""
    settings, origins = plan.settings, plan.origins

    def change(name: str, value: object, planned: object, option: str, **fields: object) -> Candidate:
        changed = replace(settings, **fields)  # type: ignore[arg-type]
        return Candidate(name, str(value), str(planned), option, changed)

    if origins["ubatch"] == "plan":
        for n in _near(_UBATCHES, settings.ubatch):
            batch = max(settings.batch, n)
            yield change("ubatch", n, settings.ubatch, f"--ubatch {n}", ubatch=n, batch=batch)
    if origins["threads"] == "plan":
        for n in _thread_counts(settings.threads, os.cpu_count() or 1):
            yield change("threads", n, settings.threads, f"--threads {n}", threads=n)
    if origins["kv_type"] == "plan":
        kv = KvType.Q8_0 if settings.kv_type is KvType.F16 else KvType.F16
        flash = True if kv is KvType.Q8_0 else settings.flash_attention
        yield change("KV type", kv, settings.kv_type, f"--kv {kv}", kv_type=kv, flash_attention=flash)
    if settings.kv_type is KvType.F16:
        names = ("plain", "flash")
        flash = not settings.flash_attention
        yield change("attention", names[flash], names[not flash], "", flash_attention=flash)
    if settings.devices and plan.shape.expert_layers and origins["cpu_moe"] == "plan":
        yield from _experts(plan)


def _experts(plan: Plan) -> Iterator[Candidate]:
    """The experts of two layers fewer or more in RAM."""
    settings, layers = plan.settings, plan.shape.expert_layers
    now = len(settings.experts_in_ram)
    for n in sorted({max(0, now - 2), min(len(layers), now + 2)} - {now}):
        in_ram = (*settings.experts_in_ram, *(each for each in layers if each not in settings.experts_in_ram))
        changed = replace(settings, experts_in_ram=tuple(sorted(in_ram[:n])))
        yield Candidate("experts in RAM", f"{n} layers", f"{now} layers", f"--cpu-moe {n}", changed)


def _near(values: Sequence[int], value: int) -> list[int]:
    """The two values next to `value` on each side of it."""
    return [*[n for n in values if n < value][-2:], *[n for n in values if n > value][:2]]


def _thread_counts(planned: int, logical: int) -> list[int]:
    """Half of the threads, one less, and one for each logical core."""
    return sorted({max(1, planned // 2), max(1, planned - 1), logical} - {planned})


def is_better(change: Change) -> bool:
    """Whether one of the speeds is higher for sure, by more than a trifle, and none is lower for sure."""
    speeds = (change.prefill, change.generation)
    faster = any(speed.excludes(1.0) and speed.value >= _WORTH_IT for speed in speeds)
    return faster and not any(speed.excludes(1.0) and speed.value < 1 for speed in speeds)


def best_of_each(better: Sequence[tuple[Candidate, Change]]) -> list[tuple[Candidate, Change]]:
    """Of each setting the value with the largest gain."""
    best: dict[str, tuple[Candidate, Change]] = {}
    for candidate, change in better:
        if candidate.name not in best or _gain(change) > _gain(best[candidate.name][1]):
            best[candidate.name] = candidate, change
    return [*best.values()]


def _gain(change: Change) -> float:
    return change.prefill.value * change.generation.value


def combined(plan: Plan, chosen: Sequence[Candidate]) -> Candidate:
    """All changes at once."""
    settings = plan.settings
    for candidate in chosen:
        names = [*settings.__dataclass_fields__]
        changed = {
            name: getattr(candidate.settings, name)
            for name in names
            if getattr(candidate.settings, name) != getattr(plan.settings, name)
        }
        settings = replace(settings, **changed)
    option = " ".join(candidate.option for candidate in chosen)
    return Candidate("all of them", option, "the plan", option, settings)


class _Trial:
    """Compares settings with the plan's, in contexts that are just large enough."""

    def __init__(self, plan: Plan, options: BenchOptions, interrupt: Interrupt) -> None:
        self._plan, self._path, self._effort = plan, options.path, options.extent.effort
        self._interrupt = interrupt
        n_ctx = min(plan.settings.ctx, -(-_WORK.cells // 256) * 256)
        self._work = replace(
            _WORK, prompt_tokens=min(_WORK.prompt_tokens, n_ctx - _WORK.generated_tokens - 1)
        )
        self._n_ctx = n_ctx

    def compare(self, candidate: Candidate) -> Change | None:
        """The speeds with it as multiples of the plan's; None if it does not fit, or was interrupted."""
        with ExitStack() as parts:
            try:
                planned, other = self._sides(candidate.settings, parts)
            except MemoryShortage:
                return None
            for side in (planned, other):
                side.run(self._work)
            passes = repeat(
                self._work,
                {"planned": planned, "other": other},
                self._effort,
                self._interrupt.keep_going,
            )
        if len(passes["other"]) < 2:
            return None
        return Change(
            name=candidate.name,
            value=candidate.value,
            planned=candidate.planned,
            option=candidate.option,
            prefill=_ratio(passes["other"], passes["planned"], "prefill"),
            generation=_ratio(passes["other"], passes["planned"], "generation"),
        )

    def _sides(self, settings: Settings, parts: ExitStack) -> tuple[EngineSide, EngineSide]:
        """Both in contexts of their own, over the same weights if these are placed alike."""
        models: dict[str, LlamaModel] = {}
        sides = []
        for each in (self._plan.settings, settings):
            loading = model_options(each)
            if (model := models.get(repr(loading))) is None:
                model = models[repr(loading)] = parts.enter_context(LlamaModel(self._path, loading))
            small = replace(each, ctx=self._n_ctx, parallel=1, unified=False)
            runner = parts.enter_context(LlamaRunner(model, context_options(small)))
            sides.append(EngineSide(runner))
        return sides[0], sides[1]


def _ratio(other: Sequence[Pass], planned: Sequence[Pass], phase: str) -> Estimate:
    speeds = [[getattr(each, phase).speed for each in passes] for passes in (other, planned)]
    return ratio_of(*speeds)
