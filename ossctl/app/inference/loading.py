"""A model made ready to answer: weights, cache and dialect, placed by a plan."""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.raw_dialect import RawDialect
from ossctl.app.placement.kernel_trial import tried_kernels
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.memory_corrections import Corrections, correction, with_less
from ossctl.app.placement.shapes import shape_of_file
from ossctl.dialect import Dialect
from ossctl.engine.grammar import JsonGrammars
from ossctl.errors import MemoryShortage, ModelError
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.harmony.markers import Markers
from ossctl.planning.machine import MIB
from ossctl.planning.memory import DeviceUse
from ossctl.planning.plan import Plan
from ossctl.planning.planner import make_plan
from ossctl.planning.settings import LoadMode
from ossctl.planning.shape import ModelShape
from ossctl.planning.workload import Overrides, Workload
from ossctl.runtime.base import Chunk, DecodeFailed, Runner
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.crash import crash_reporter
from ossctl.runtime.model import LlamaModel, ModelOptions
from ossctl.settings import Paths
from ossctl.templates.dialect import TemplateDialect

__all__ = ["LoadOptions", "LoadedModel", "explain_crashes", "load_model"]

_log = logging.getLogger(__name__)

# After a load that failed for memory, the next plan has so many bytes less; the last failure is the user's.
_STEPS = (128 * MIB, 256 * MIB, 512 * MIB, 1024 * MIB, 0)
_WRONG_BY = 0.05  # of a device's use; a prediction that is further off is said
_TOO_SMALL = 64 * MIB  # differences that nobody would notice
_RAM = "RAM"


def explain_crashes(saved: str) -> None:
    """From now on, a crash of llama.cpp is told with this sentence on what is not lost."""
    reporter = crash_reporter()
    reporter.saved, reporter.folder = saved, Paths.from_environment().state


@dataclass(frozen=True)
class LoadedModel:
    """What a command needs to ask a model. `piece` gives a token's bytes.

    `remarks` are lines for the user: a GPU that is not used, a plan that was corrected. `plan` is what it
    was loaded by, and `reported` what llama.cpp says that it takes.
    """

    name: str
    runner: Runner
    dialect: Dialect
    piece: Callable[[int], bytes]
    remarks: tuple[str, ...] = ()
    plan: Plan | None = None
    reported: Mapping[str, DeviceUse] = field(default_factory=dict)

    @functools.cached_property
    def longest_piece(self) -> int:
        """Bytes of the longest token."""
        return max(len(self.piece(token)) for token in range(self.runner.n_vocab))


@contextmanager
def load_model(
    path: Path, options: LoadOptions, workload: Workload, interrupt: Interrupt, *, raw: bool = False
) -> Iterator[LoadedModel]:
    """Load the GGUF at `path` by the plan for `workload`, and free it at the end; `raw` asks for no dialect.

    When memory does not suffice all the same, the plan is made smaller step by step. Raises ModelError,
    MemoryShortage, UsageError, Interrupted.
    """
    started = perf_counter()
    shape = shape_of_file(path)

    def load(plan: Plan, parts: ExitStack) -> LoadedModel:
        return _load_by(plan, path, interrupt, parts, raw=raw)

    loader = _Loader(load, shape, workload, options.overrides(shape))
    with ExitStack() as parts:
        loaded = loader.load(parts)
        _log.info("loaded %s in %.1f s", loaded.name, perf_counter() - started)
        yield loaded


class _Loader:
    """Loads by plan; when memory does not suffice all the same, by the next smaller one."""

    def __init__(
        self,
        load: Callable[[Plan, ExitStack], LoadedModel],
        shape: ModelShape,
        workload: Workload,
        overrides: Overrides,
    ) -> None:
        self._load = load
        self._shape, self._workload, self._overrides = shape, workload, overrides
        self._kernels = tried_kernels()
        self._machine = this_machine(self._kernels)
        self._corrections = Corrections(Paths.from_environment().state / "corrections.json")
        self._less = self._corrections.get(self._machine, shape)  # bytes that plans have shown not to have

    def load(self, parts: ExitStack) -> LoadedModel:
        """The model, to be freed when `parts` are closed."""
        unused = [f"{gpu.unused}: {gpu.fix}" for gpu in self._machine.unusable]
        unused += filter(None, [self._kernels.remark])
        plan = first = self._plan()
        for step in _STEPS:
            try:
                loaded = self._try(plan, parts)
            except MemoryShortage as error:
                if not step:
                    raise
                _log.warning("%s", error)
                plan = self._smaller(plan, step, error)
            else:
                return replace(loaded, remarks=(*unused, *self._said(first, plan), *loaded.remarks))
        raise AssertionError("the last step returns or raises")

    def _plan(self) -> Plan:
        return make_plan(with_less(self._machine, self._less), self._shape, self._workload, self._overrides)

    def _try(self, plan: Plan, parts: ExitStack) -> LoadedModel:
        with ExitStack() as attempt:
            loaded = self._load(plan, attempt)
            parts.push(attempt.pop_all())
        return loaded

    def _smaller(self, plan: Plan, step: int, error: MemoryShortage) -> Plan:
        """The plan with `step` bytes less than `plan` takes. Raises the error that was, if there is none."""
        self._less = correction(self._machine, plan, step)
        try:
            return self._plan()
        except MemoryShortage:
            raise error from None

    def _said(self, first: Plan, plan: Plan) -> list[str]:
        """What the user has to know of a smaller plan, which is remembered."""
        if plan is first:
            return []
        self._corrections.remember(self._machine, plan.shape, self._less)
        return [f"Memory was shorter than planned; loaded smaller: {_difference(first, plan)}."]


def _load_by(plan: Plan, path: Path, interrupt: Interrupt, parts: ExitStack, *, raw: bool) -> LoadedModel:
    """Load as the plan says. Raises MemoryShortage if the first decode finds no memory, too."""
    settings = plan.settings
    model = parts.enter_context(_weights(path, plan, interrupt))
    dialect = RawDialect(model.vocab) if raw else _dialect(model)
    context = ContextOptions(
        n_ctx=settings.ctx,
        n_seq=settings.parallel,
        n_batch=settings.batch,
        n_ubatch=settings.ubatch,
        unified=settings.unified,
        n_threads=settings.threads,
        kv_type=settings.kv_type.value,
        flash_attention=settings.flash_attention,
    )
    runner = parts.enter_context(LlamaRunner(model, context))
    try:
        runner.decode([Chunk(0, np.array([model.vocab.end_id], np.int32), wants_logits=True)])
    except DecodeFailed as error:
        raise MemoryShortage(f"no memory for the first token: {error}") from None
    runner.rollback(0, 0)
    reported = by_place(plan, {**model.buffers, **runner.buffers})
    remarks = tuple(differences(plan, reported))
    return LoadedModel(model.name, runner, dialect, model.vocab.piece, remarks, plan, reported)


def _weights(path: Path, plan: Plan, interrupt: Interrupt) -> LlamaModel:
    settings = plan.settings
    options = ModelOptions(
        n_gpu_layers=settings.gpu_layers,
        devices=settings.devices,
        device_layers=settings.device_layers,
        experts_in_ram=settings.experts_in_ram if settings.devices else (),
        load_mode=settings.load_mode.value,
        repack=settings.repack,
    )
    try:
        return LlamaModel(path, options, keep_going=lambda: interrupt.clear)
    except ModelError:
        interrupt.check("Nothing was started.")
        raise


def by_place(plan: Plan, buffers: Mapping[tuple[str, str], int]) -> dict[str, DeviceUse]:
    """What llama.cpp reports on each device of `plan`, and in `RAM`.

    `buffers` are bytes by llama.cpp's name of the buffer and its purpose.
    """
    found = {name: dict.fromkeys(("model", "KV", "RS", "compute", "output"), 0) for name in _places(plan)}
    for (buffer, purpose), n_bytes in buffers.items():
        found[_place_of(buffer, plan.settings.devices)][purpose] += n_bytes
    return {
        name: DeviceUse(each["model"], each["KV"] + each["RS"], each["compute"] + each["output"])
        for name, each in found.items()
    }


def differences(plan: Plan, reported: Mapping[str, DeviceUse]) -> Iterator[str]:
    """Log what was predicted and what llama.cpp reports; a line for the user where they are far apart."""
    uses = [*plan.prediction.devices, plan.prediction.host]
    mapped = plan.settings.load_mode is LoadMode.MMAP
    for name, use in zip(_places(plan), uses, strict=True):
        found = reported[name]
        skips_weights = name == _RAM and mapped  # what is mapped may reach over what is not used
        predicted = use.kv + use.compute + (0 if skips_weights else use.weights)
        actual = found.total - (found.weights if skips_weights else 0)
        _log.info("%s: predicted %d MiB, llama.cpp reports %d MiB", name, predicted // MIB, actual // MIB)
        if abs(predicted - actual) > max(_TOO_SMALL, _WRONG_BY * predicted):
            yield (
                f"{name} holds {actual // MIB:,} MiB, planned were {predicted // MIB:,}: please report it."
            )


def _place_of(buffer: str, devices: tuple[str, ...]) -> str:
    """The device whose buffer this is: `CUDA0`, `RPC0[…]`; RAM for `CPU_Mapped` and `CUDA_Host`."""
    return next((name for name in devices if buffer == name or buffer.startswith(f"{name}[")), _RAM)


def _places(plan: Plan) -> tuple[str, ...]:
    return *plan.settings.devices, _RAM


def _difference(before: Plan, after: Plan) -> str:
    """What was given up."""
    old, new = before.settings, after.settings
    changes = [
        ("layers on GPUs", old.gpu_layers, new.gpu_layers),
        ("layers with experts in RAM", len(old.experts_in_ram), len(new.experts_in_ram)),
        ("sequences", old.parallel, new.parallel),
        ("tokens of context", old.ctx, new.ctx),
        ("ubatch", old.ubatch, new.ubatch),
    ]
    return (
        ", ".join(f"{b:,} {what} instead of {a:,}" for what, a, b in changes if a != b)
        or "another way to load"
    )


def _dialect(model: LlamaModel) -> Dialect:
    grammars = JsonGrammars(model.vocab)
    markers = Markers.of(model.vocab)
    if markers is not None:
        return HarmonyDialect(model.vocab, markers, grammars)
    if model.chat_template is None:
        raise ModelError(
            f"{model.path} has no chat template, so it cannot be asked in messages",
            "Use an instruction-tuned (chat) version of the model.",
        )
    return TemplateDialect(model.chat_template, model.vocab, grammars)
