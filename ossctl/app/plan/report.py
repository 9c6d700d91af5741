"""`ossctl plan`: the plan of one model, of all that are known, and what would change it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ossctl.app.library.inventory import list_models
from ossctl.app.library.pull import find_on_hub
from ossctl.app.library.resolve import NotHere, hub_reference, locate
from ossctl.app.placement.fit import DoesNotFit, Fit, outcome_of
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.placement.machine import hypothetical, parse_size, parse_vram, this_machine
from ossctl.app.placement.remote_shape import remote_shape
from ossctl.app.placement.shapes import shape_of_file, shipped_shape
from ossctl.errors import MemoryShortage, ModelError, UsageError
from ossctl.hub.catalogue import catalogue
from ossctl.hub.local import Origin
from ossctl.planning.cards import as_sold
from ossctl.planning.machine import GIB, MIB, Machine, ram_margin, shown_bytes
from ossctl.planning.memory import DeviceUse
from ossctl.planning.plan import SHORT_CTX, Plan
from ossctl.planning.planner import make_plan, needed_ram
from ossctl.planning.settings import LoadMode, Settings
from ossctl.planning.shape import ModelShape
from ossctl.planning.workload import Overrides, Workload

_GPU_SIZES = (8, 12, 16, 24, 32, 48, 80, 96, 192)  # GiB that cards come with

_PROMPT_CACHE = 8 * GIB  # llama-server's default for -cram


@dataclass(frozen=True)
class MachineOptions:
    """A machine to plan for: `16GiB,24GiB`, `64GiB`, names of GPUs; what is not given is this one's."""

    vram: str | None = None
    ram: str | None = None
    gpu: tuple[str, ...] = ()

    def machine(self) -> Machine:
        """Raises UsageError."""
        if self.vram is not None and self.gpu:
            raise UsageError("--vram and --gpu say the same thing twice", "Give one of them.")
        vram = None
        if self.vram is not None:
            vram = [parse_vram(size) for size in self.vram.split(",")]
        ram = None if self.ram is None else parse_size(self.ram, "--ram")
        if ram == 0:
            raise UsageError("--ram: a machine needs some")
        return hypothetical(this_machine(), vram=vram, ram=ram, cards=self.gpu)


@dataclass(frozen=True)
class Report:
    """The plan of one model on one machine, or why there is none. `model` is what the user called it.

    `here` is whether its files are on this machine.
    """

    model: str
    machine: Machine
    outcome: Fit
    here: bool


def plan_one(
    model: str, options: LoadOptions, workload: Workload, machine: Machine, say: Callable[[str], None]
) -> Report:
    """Plan what -m would mean; `say` hears of retries. Raises ModelError and UsageError."""
    shape, here = _find_shape(model, say)
    return Report(model, machine, outcome_of(shape, machine, workload, options.overrides(shape)), here)


def plan_all(options: LoadOptions, workload: Workload, machine: Machine) -> list[Report]:
    """All models that are on this machine, and those of the catalogue with known shapes; the largest first.

    Raises UsageError if what is asked for suits none of them.
    """
    here = {listing.model.name: listing.shape for listing in list_models() if listing.shape is not None}
    known = {entry.name: shipped_shape(entry.variant.reference) for entry in catalogue().entries}
    shapes = {name: shape for name, shape in {**known, **here}.items() if shape is not None}
    reports = [
        Report(name, machine, _outcome(shape, options, workload, machine), name in here)
        for name, shape in sorted(shapes.items(), key=lambda item: -item[1].weight_bytes)
    ]
    wrong = [report.outcome.error for report in reports if isinstance(report.outcome, DoesNotFit)]
    if len(wrong) == len(reports) and all(isinstance(error, UsageError) for error in wrong):
        raise wrong[0]
    return reports


@dataclass(frozen=True)
class Unplanned:
    """A model of the catalogue whose shape only the hub can tell; `too_large` by its size alone."""

    model: str
    gigabytes: float
    too_large: bool


def unplanned(reports: Sequence[Report], machine: Machine) -> list[Unplanned]:
    """The models of the catalogue that `reports` do not have, the largest first."""
    planned = {report.model for report in reports}
    gpus = sum(device.free - device.of_ram(device.free) for device in machine.devices)
    others = [
        Unplanned(
            entry.name, entry.variant.gigabytes, entry.variant.gigabytes * 1e9 > machine.ram_free + gpus
        )
        for entry in catalogue().entries
        if entry.name not in planned
    ]
    return sorted(others, key=lambda other: -other.gigabytes)


def _outcome(shape: ModelShape, options: LoadOptions, workload: Workload, machine: Machine) -> Fit:
    """A model among others: what asks too much of one, as a context beyond its own, may suit the next."""
    try:
        return outcome_of(shape, machine, workload, options.overrides(shape))
    except UsageError as error:
        return DoesNotFit(shape, needed_ram(shape), error)


def _find_shape(reference: str, say: Callable[[str], None]) -> tuple[ModelShape, bool]:
    """The shape of what a reference means, and whether it is here: from disk, this package, or the hub."""
    try:
        model = locate(reference)
    except NotHere:
        pass
    else:
        if not model.missing or model.origin is not Origin.HUB:
            return shape_of_file(model.first), True
    known = shipped_shape(hub_reference(reference))
    return known or remote_shape(find_on_hub(reference, say)), False


def bottleneck(plan: Plan) -> str:
    """What generation will wait for, with the bytes that every token reads."""
    shape = plan.shape
    share = shape.n_expert_used / shape.n_expert if shape.n_expert else 0.0
    on_cpu = shape.n_layers + 1 - plan.settings.gpu_layers
    behind = sum(int(shape.layers[n].expert_bytes * share) for n in plan.settings.experts_in_ram)
    dense = sum(layer.dense_bytes for layer in shape.layers[: min(on_cpu, shape.n_layers)])
    from_ram = behind + dense + (shape.output_bytes if plan.settings.gpu_layers == 0 else 0)
    if not from_ram:
        return f"the GPU's memory: every token reads {shown_bytes(shape.active_bytes)} of weights"
    rest = shape.active_bytes - from_ram
    beside = f", {shown_bytes(rest)} from the GPU's" if plan.settings.devices else ""
    return f"the speed of RAM: every token reads {shown_bytes(from_ram)} of weights from it{beside}"


def alternatives(plan: Plan) -> Iterator[str]:
    """What the next bigger GPU, or a smaller context, would change."""
    bigger = _next_gpu(plan)
    if bigger is not None:
        yield bigger
    shorter = _shorter_ctx(plan)
    if shorter is not None:
        yield shorter


def _next_gpu(plan: Plan) -> str | None:
    if (plan.all_on_gpu and plan.settings.ctx == plan.shape.n_ctx_train) or len(plan.machine.devices) > 1:
        return None
    if any(device.shares_ram for device in plan.machine.devices):
        return None
    have = max((device.total for device in plan.machine.devices), default=0)
    for size in _GPU_SIZES:
        if size * GIB < have * 1.1:
            continue
        larger = hypothetical(plan.machine, vram=[as_sold(size * GIB)])
        try:
            other = make_plan(larger, plan.shape, plan.workload, replace(_overrides_of(plan), devices=None))
        except (MemoryShortage, UsageError):
            continue
        change = _difference(plan, other)
        if change:
            return f"with a GPU of {size} GiB: {change}"
    return None


def _shorter_ctx(plan: Plan) -> str | None:
    settings = plan.settings
    if not settings.devices or not settings.experts_in_ram or settings.ctx <= SHORT_CTX:
        return None
    try:
        other = make_plan(
            plan.machine, plan.shape, plan.workload, replace(_overrides_of(plan), ctx=SHORT_CTX)
        )
    except (MemoryShortage, UsageError):
        return None
    change = _difference(plan, other, ctx=False)
    return f"with --ctx {SHORT_CTX}: {change}" if change else None


def _overrides_of(plan: Plan) -> Overrides:
    """What the user gave, taken from the plan that kept it."""
    settings = plan.settings
    values: dict[str, object] = {
        "ctx": settings.ctx,
        "parallel": settings.parallel,
        "kv_type": settings.kv_type,
        "ubatch": settings.ubatch,
        "threads": settings.threads,
    }
    given = {name: value for name, value in values.items() if plan.origins.get(name) == "user"}
    return Overrides(**given)  # type: ignore[arg-type]


def _difference(plan: Plan, other: Plan, *, ctx: bool = True) -> str:
    """What is better about `other`; '' if nothing is."""
    before, after = plan.settings, other.settings
    words = []
    if other.all_on_gpu and not plan.all_on_gpu:
        words.append("everything on the GPU")
    elif len(after.experts_in_ram) < len(before.experts_in_ram):
        words.append(
            f"experts of {len(after.experts_in_ram)} layers in RAM instead of {len(before.experts_in_ram)}"
        )
    if ctx and after.ctx > before.ctx:
        words.append(f"a context of {after.ctx:,} instead of {before.ctx:,}")
    if after.parallel > before.parallel:
        words.append(f"{after.parallel} sequences instead of {before.parallel}")
    return ", ".join(words)


def llama_arguments(plan: Plan, model: str) -> list[str]:
    """The llama-server command line that places the model in the same way.

    Without -cram the server keeps up to 8 GiB of old prompts in RAM. Mapping the file is its default, and
    only servers since July 2026 know -lm.
    """
    settings = plan.settings
    arguments = [
        "llama-server", *_source_arguments(model),
        "-c", str(settings.cells * settings.streams),
        "-np", str(settings.parallel),
        "-kvu" if settings.unified else "-no-kvu",
        "-b", str(settings.batch),
        "-ub", str(settings.ubatch),
        "-ctk", settings.kv_type.value,
        "-ctv", settings.kv_type.value,
        "-t", str(settings.threads),
        "-ngl", str(settings.gpu_layers),
        *_placement_arguments(plan),
        "-fa", "on" if settings.flash_attention else "off",
        *(() if is_mapped(plan) else ("-lm", settings.load_mode.value)),
        "-fit", "off",
        "-cram", str(_prompt_cache(plan) // MIB),
    ]  # fmt: skip
    return arguments if settings.repack else [*arguments, "-nr"]


def _prompt_cache(plan: Plan) -> int:
    """Bytes of RAM that llama-server may keep old prompts in: what is left, and no more than its 8 GiB."""
    *_, (_, _, free, use) = memory_rows(plan)
    return min(_PROMPT_CACHE, max(0, free - use.total - ram_margin(plan.machine)))


def _source_arguments(model: str) -> list[str]:
    try:
        return ["-m", str(locate(model).first)]
    except ModelError:
        reference = hub_reference(model)
    if reference.selector.endswith(".gguf"):
        return ["-hf", reference.repo, "-hff", reference.selector]
    return ["-hf", f"{reference.repo}:{reference.selector}".rstrip(":")]


def _placement_arguments(plan: Plan) -> list[str]:
    settings = plan.settings
    own = {device.name for device in this_machine().devices}
    arguments = []
    if not settings.devices:
        arguments += ["-dev", "none"]
    elif set(settings.devices) <= own:
        arguments += ["-dev", ",".join(settings.devices)]
    if len(settings.device_layers) > 1:
        arguments += ["-ts", ",".join(map(str, settings.device_layers))]
    behind = settings.experts_in_ram
    if settings.devices and behind:
        if behind == tuple(range(len(behind))):
            arguments += ["-ncmoe", str(len(behind))]
        else:
            arguments += ["-ot", f"{experts_pattern(settings)}=CPU"]
    return arguments


def experts_pattern(settings: Settings) -> str:
    """A regular expression for the names of the expert tensors that stay in RAM."""
    numbers = "|".join(map(str, settings.experts_in_ram))
    return rf"blk\.({numbers})\.ffn_(up|down|gate|gate_up)_exps"


def plan_record(report: Report) -> dict[str, object]:
    """The report for programs, `ossctl.plan/1`."""
    outcome = report.outcome
    record: dict[str, object] = {
        "schema": "ossctl.plan/1",
        "fits": isinstance(outcome, Plan),
        "model": report.model,
        "here": report.here,
    }
    if isinstance(outcome, DoesNotFit):
        devices = [
            {"name": each.name, "total_bytes": each.total, "free_bytes": each.free}
            for each in report.machine.devices
        ]
        ram = {"name": "RAM", "total_bytes": report.machine.ram_total, "free_bytes": report.machine.ram_free}
        reason = {"message": outcome.error.message, "hint": outcome.error.hint}
        return {
            **record, "plan": None, "devices": [*devices, ram], "error": reason,
            "needed_ram_bytes": outcome.needed,
        }  # fmt: skip
    settings = outcome.settings
    return {
        **record,
        "plan": {
            "gpu_layers": settings.gpu_layers,
            "layers": outcome.shape.n_layers + 1,
            "cpu_moe_layers": len(settings.experts_in_ram),
            "experts_in_ram": list(settings.experts_in_ram),
            "devices": list(settings.devices),
            "device_layers": list(settings.device_layers),
            "ctx": settings.ctx,
            "parallel": settings.parallel,
            "unified": settings.unified,
            "batch": settings.batch,
            "ubatch": settings.ubatch,
            "kv_type": settings.kv_type.value,
            "flash_attention": settings.flash_attention,
            "threads": settings.threads,
            "load_mode": settings.load_mode.value,
            "repack": settings.repack,
        },
        "devices": [
            {
                "name": name, "total_bytes": total, "free_bytes": free, "weights_bytes": use.weights,
                "kv_bytes": use.kv, "compute_bytes": use.compute, "overhead_bytes": use.overhead,
            }
            for name, total, free, use in memory_rows(outcome)
        ],
        "origins": dict(outcome.origins),
        "bottleneck": bottleneck(outcome),
    }  # fmt: skip


def memory_rows(plan: Plan) -> Iterator[tuple[str, int, int, DeviceUse]]:
    """Name, total and free bytes, and what is used, of every device in use and of RAM.

    What a device that shares RAM uses of it is not free there.
    """
    ram_free = plan.machine.ram_free
    for device, use in zip(plan.devices, plan.prediction.devices, strict=True):
        yield device.name, device.total, device.free, use
        ram_free -= device.of_ram(use.total)
    yield "RAM", plan.machine.ram_total, ram_free, plan.prediction.host


def is_mapped(plan: Plan) -> bool:
    return plan.settings.load_mode is LoadMode.MMAP
