"""Loading a model by a plan: weights, cache and dialect."""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from ossctl.app.inference.disk_prefixes import DiskPrefixes
from ossctl.app.inference.embedding import refuse_embedding_model
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.raw_dialect import RawDialect
from ossctl.app.placement.buffers import RAM, reported_by_device
from ossctl.app.placement.kernel_trial import current_trial
from ossctl.app.placement.load_options import ChatTemplate, LoadOptions
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.memory_corrections import Corrections, next_correction, with_less_memory
from ossctl.app.placement.reservation import plan_by_reservation, reserved
from ossctl.app.placement.runtime_options import context_options, model_options
from ossctl.app.placement.shapes import shape_of_file
from ossctl.dialect import Dialect
from ossctl.engine.breakers import BreakerFinder, Breakers
from ossctl.engine.drafts import DENSE, MIXTURE, DraftOptions
from ossctl.engine.grammar import JsonGrammars
from ossctl.errors import MemoryShortage, ModelError
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.harmony.markers import TEXTS, Markers
from ossctl.planning.machine import MIB
from ossctl.planning.memory import DeviceUse
from ossctl.planning.plan import Plan
from ossctl.planning.planner import make_plan
from ossctl.planning.settings import LoadMode, Settings
from ossctl.planning.shape import ModelShape
from ossctl.planning.workload import Overrides, Workload
from ossctl.runtime.base import Chunk, DecodeFailed, Runner
from ossctl.runtime.context import LlamaRunner
from ossctl.runtime.crash import crash_reporter
from ossctl.runtime.gguf import read_header, tokens_in
from ossctl.runtime.model import LlamaModel
from ossctl.runtime.vocab import Vocabulary
from ossctl.settings import Paths
from ossctl.templates.dialect import TemplateDialect

__all__ = ["LoadOptions", "LoadedModel", "explain_crashes", "load_model"]

_log = logging.getLogger(__name__)

# Bytes to take off the plan after each load that ran out of memory, before the last attempt.
_STEPS = (128 * MIB, 256 * MIB, 512 * MIB, 1024 * MIB)
_TOLERANCE = 0.05  # of a device's memory use: larger errors of a prediction are reported
_MIN_REPORTED = 64 * MIB  # smaller errors never are


def explain_crashes(saved: str, keep: Callable[[], str] | None = None) -> None:
    """From now on, report crashes of llama.cpp with the sentence `saved`, on what is lost and what is not.

    If only a worker is lost, `keep` can still save something, and return the sentence, or "".
    """
    reporter = crash_reporter()
    reporter.on_lost = None if keep is None else lambda _reason: keep()
    reporter.saved, reporter.folder = saved, Paths.from_environment().state


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to answer. `piece` returns the bytes of a token.

    `raw_dialect` is for texts without the chat format of `dialect`; None if there is no such format.

    `remarks` are messages for the user, such as a GPU that is not used or a plan that was reduced. `reported`
    is the memory use according to llama.cpp, by device. `find_breakers` finds DRY's sequence breakers;
    `vocabulary` is for texts without any format, such as those whose perplexity is measured. If `drafts` is
    None, nothing is drafted.
    """

    name: str
    runner: Runner
    dialect: Dialect
    piece: Callable[[int], bytes]
    remarks: tuple[str, ...] = ()
    plan: Plan | None = None
    reported: Mapping[str, DeviceUse] = field(default_factory=dict)
    disk: DiskPrefixes | None = None
    raw_dialect: Dialect | None = None
    find_breakers: Callable[[tuple[str, ...]], Breakers] = lambda _: Breakers()
    vocabulary: Vocabulary | None = None
    drafts: DraftOptions | None = None

    def dialect_of(self, *, raw: bool) -> Dialect:
        """The dialect of a chat, or of raw text."""
        return self.raw_dialect if raw and self.raw_dialect is not None else self.dialect

    @functools.cached_property
    def longest_piece(self) -> int:
        """Length of the longest token, in bytes."""
        return max(len(self.piece(token)) for token in range(self.runner.n_vocab))


@contextmanager
def load_model(
    path: Path, options: LoadOptions, workload: Workload, interrupt: Interrupt, *, raw: bool = False
) -> Iterator[LoadedModel]:
    """Load the GGUF at `path` by a plan for `workload`; free it on exit. `raw` loads it without a dialect.

    If the memory does not suffice, the plan is reduced step by step. Raises ModelError, MemoryShortage,
    UsageError, Interrupted.
    """
    started = perf_counter()
    refuse_embedding_model(path)
    shape = shape_of_file(path)
    if not raw and options.template is None:
        _refuse_without_template(path)

    def dialect_of(model: LlamaModel) -> Dialect:
        return RawDialect(model.vocab) if raw else _dialect(model, options.template)

    def load(plan: Plan, parts: ExitStack) -> LoadedModel:
        loaded = _load_by(plan, path, interrupt, parts, dialect_of)
        disk = DiskPrefixes(
            path,
            loaded.name,
            plan,
            any_length=not loaded.runner.needs_snapshots,
            max_bytes=options.cache_bytes,
        )
        return replace(loaded, disk=parts.enter_context(closing(disk)), drafts=_drafts(options.draft, plan))

    workload = options.drafting(workload)
    loader = _Loader(load, shape, workload, options.overrides(shape), functools.partial(reserved, path))
    with ExitStack() as parts:
        loaded = loader.load(parts)
        _log.info("loaded %s in %.1f s", loaded.name, perf_counter() - started)
        yield loaded


class _Loader:
    """Loads by a plan, or by a smaller one if memory runs out."""

    def __init__(
        self,
        load: Callable[[Plan, ExitStack], LoadedModel],
        shape: ModelShape,
        workload: Workload,
        overrides: Overrides,
        reserve: Callable[[Settings], Mapping[str, DeviceUse]],
    ) -> None:
        self._load = load
        self._reserve = reserve
        self._shape, self._workload, self._overrides = shape, workload, overrides
        self._kernels = current_trial()
        machine = this_machine(self._kernels)
        self._machine = replace(machine, ram_free=machine.ram_free // workload.engines)
        self._corrections = Corrections.saved()
        self._less = self._corrections.get(self._machine, shape)  # bytes of memory not to count on

    def load(self, parts: ExitStack) -> LoadedModel:
        """Load the model; closing `parts` frees it."""
        unused = [f"{gpu.message}: {gpu.fix}" for gpu in self._machine.unusable]
        unused += filter(None, [self._kernels.remark])
        plan = first = self._plan()
        for step in _STEPS:
            try:
                loaded = self._try(plan, parts)
                break
            except MemoryShortage as error:
                _log.warning("%s", error)
                plan = self._smaller(plan, step, error)
        else:
            loaded = self._try(plan, parts)
        return replace(loaded, remarks=(*unused, *self._corrected(first, plan), *loaded.remarks))

    def _plan(self) -> Plan:
        """The best plan that fits by llama.cpp's own figures, if it uses a device."""
        return plan_by_reservation(self._plan_without, self._ask, self._less)

    def _ask(self, settings: Settings) -> Mapping[str, DeviceUse]:
        return self._reserve(settings) if settings.devices else {}

    def _plan_without(self, n_bytes: int) -> Plan:
        machine = with_less_memory(self._machine, n_bytes)
        return make_plan(machine, self._shape, self._workload, self._overrides)

    def _try(self, plan: Plan, parts: ExitStack) -> LoadedModel:
        with ExitStack() as attempt:
            loaded = self._load(plan, attempt)
            parts.push(attempt.pop_all())
        return loaded

    def _smaller(self, plan: Plan, step: int, error: MemoryShortage) -> Plan:
        """A plan that takes `step` bytes less than `plan`. Raises `error` again if there is none."""
        self._less = next_correction(self._machine, plan, step)
        try:
            return self._plan()
        except MemoryShortage:
            raise error from None

    def _corrected(self, first: Plan, plan: Plan) -> list[str]:
        """Remember the shortage, if there was one, and return a message about the smaller plan."""
        if plan is first:
            if not self._less:
                self._corrections.forget(self._machine, plan.shape)
            return []
        self._corrections.remember(self._machine, plan.shape, self._less)
        return [f"Not enough memory for the plan; loaded with {_changes(first, plan)}."]


def _load_by(
    plan: Plan,
    path: Path,
    interrupt: Interrupt,
    parts: ExitStack,
    dialect_of: Callable[[LlamaModel], Dialect],
) -> LoadedModel:
    """Load as `plan` says. Devices decode one token: MemoryShortage is raised also if only that fails."""
    settings = plan.settings
    model = parts.enter_context(_weights(path, plan, interrupt))
    dialect = dialect_of(model)
    runner = parts.enter_context(LlamaRunner(model, context_options(settings)))
    if settings.devices:
        _try_decode(runner, model)
    reported = reported_by_device(settings.devices, {**model.buffers, **runner.buffers})
    remarks = tuple(differences(plan, reported))
    return LoadedModel(
        model.name,
        runner,
        dialect,
        model.vocab.piece,
        remarks,
        plan,
        reported,
        raw_dialect=RawDialect(model.vocab),
        find_breakers=BreakerFinder(model.vocab).find,
        vocabulary=model.vocab,
    )


def _drafts(n_tokens: int | None, plan: Plan) -> DraftOptions | None:
    """What to draft: `n_tokens`, or if that is None, what changes no answer and is expected to pay."""
    if not plan.settings.draft:
        return None
    mixture = plan.shape.n_expert > 1 and not plan.all_on_gpu
    return DraftOptions(plan.settings.draft, fixed=n_tokens is not None, costs=MIXTURE if mixture else DENSE)


def _try_decode(runner: LlamaRunner, model: LlamaModel) -> None:
    try:
        runner.decode([Chunk(0, np.array([model.vocab.end_id], np.int32), wants_logits=True)])
    except DecodeFailed as error:
        raise MemoryShortage(f"out of memory in the first decode: {error}") from None
    runner.rollback(0, 0)


def _weights(path: Path, plan: Plan, interrupt: Interrupt) -> LlamaModel:
    try:
        return LlamaModel(path, model_options(plan.settings), keep_going=interrupt.keep_going)
    except ModelError:
        interrupt.check("Nothing was started.")
        raise


def differences(plan: Plan, reported: Mapping[str, DeviceUse]) -> Iterator[str]:
    """Log predicted and reported memory by device; yield a message for each that is far off."""
    uses = [*plan.prediction.devices, plan.prediction.host]
    mapped = plan.settings.load_mode is LoadMode.MMAP
    for name, use in zip((*plan.settings.devices, RAM), uses, strict=True):
        found = reported[name]
        skips_weights = name == RAM and mapped  # a mapping may span unused parts of the file
        predicted = use.kv + use.compute + (0 if skips_weights else use.weights)
        actual = found.total - (found.weights if skips_weights else 0)
        _log.info("%s: predicted %d MiB, llama.cpp reports %d MiB", name, predicted // MIB, actual // MIB)
        if abs(predicted - actual) > max(_MIN_REPORTED, _TOLERANCE * predicted):
            yield (
                f"{name} usage is {actual // MIB:,} MiB, but {predicted // MIB:,} MiB were predicted; "
                "please report this."
            )


def _changes(before: Plan, after: Plan) -> str:
    """What `after` has instead of `before`, as text."""
    old, new = before.settings, after.settings
    changes = [
        ("layers on GPUs", old.gpu_layers, new.gpu_layers),
        ("layers with experts in RAM", len(old.experts_in_ram), len(new.experts_in_ram)),
        ("sequences", old.parallel, new.parallel),
        ("tokens of context", old.ctx, new.ctx),
        ("ubatch", old.ubatch, new.ubatch),
    ]
    return ", ".join(f"{b:,} {what} instead of {a:,}" for what, a, b in changes if a != b) or "other settings"


def _dialect(model: LlamaModel, template: ChatTemplate | None) -> Dialect:
    """The dialect of `template`; if that is None, the one of the model's metadata."""
    grammars = JsonGrammars(model.vocab)
    if template is not None:
        return TemplateDialect(template.text, model.vocab, grammars, name=template.name)
    markers = Markers.of(model.vocab)
    if markers is not None:
        return HarmonyDialect(model.vocab, markers, grammars)
    if model.chat_template is None:
        raise _no_template(model.path)
    return TemplateDialect(model.chat_template, model.vocab, grammars)


def _refuse_without_template(path: Path) -> None:
    """Raise ModelError before time is spent on loading, unless the tokens are Harmony's, which needs none."""
    if "tokenizer.chat_template" in read_header(path).metadata:
        return
    if not set(map(str.encode, TEXTS)) <= set(tokens_in(path)):
        raise _no_template(path)


def _no_template(path: Path) -> ModelError:
    return ModelError(
        f"{path} has no chat template, so it cannot answer messages",
        "Use an instruction-tuned (chat) version of the model, or give a template with --template FILE.",
    )
