"""Make the best plan for a machine, a model and a workload, or explain why none fits."""

from collections.abc import Sequence
from dataclasses import replace

from ossctl.errors import MemoryShortage
from ossctl.planning.check import check_overrides, select_devices
from ossctl.planning.machine import RAM_MARGIN, Device, Machine, format_bytes, ram_margin
from ossctl.planning.memory import predict
from ossctl.planning.plan import Plan
from ossctl.planning.search import Search
from ossctl.planning.settings import LoadMode, Settings
from ossctl.planning.shape import KvType, ModelShape
from ossctl.planning.tiers import MIN_CTX, UBATCH
from ossctl.planning.workload import Overrides, Workload


def make_plan(machine: Machine, shape: ModelShape, workload: Workload, overrides: Overrides) -> Plan:
    """The best plan that fits and respects `overrides`.

    Raises UsageError if `overrides` contradict each other, the model or the machine, and MemoryShortage.
    """
    devices = select_devices(machine, overrides)
    check_overrides(shape, overrides, devices)
    best = _best(machine, shape, workload, overrides, devices)
    if best is None:
        raise _shortage(machine, shape, workload, overrides, devices)
    return best


def _best(
    machine: Machine, shape: ModelShape, workload: Workload, overrides: Overrides, devices: tuple[Device, ...]
) -> Plan | None:
    search = Search(machine, shape, workload, overrides, devices)
    placements = [(search, search.place())]
    if len(devices) > 1:  # one GPU that holds as much needs no transfers
        largest = max(devices, key=lambda device: device.free)
        single = Search(machine, shape, workload, overrides, (largest,))
        placements.insert(0, (single, single.place(rival=placements[0][1])))
    best = max((placed.rank for _, placed in placements if placed), default=None)
    plans = [search.finish(placed) for search, placed in placements if placed and placed.rank == best]
    return max(plans, key=lambda plan: plan.quality, default=None)


def _shortage(
    machine: Machine, shape: ModelShape, workload: Workload, overrides: Overrides, devices: tuple[Device, ...]
) -> MemoryShortage:
    """The error for a model that does not fit, with an option to change if that helps."""
    available = machine.ram_free - ram_margin(machine)
    message = f"{shape.name} does not fit into {format_bytes(available)} of RAM{_gpu_memory(devices)}"
    for name in ("parallel", "ctx", "ubatch", "gpu_layers", "cpu_moe", "devices"):
        if name not in overrides.given():
            continue
        relaxed = replace(overrides, **{name: None})
        plan = _best(machine, shape, workload, relaxed, select_devices(machine, relaxed))
        if plan is not None:
            return MemoryShortage(
                f"{message} with {_option(name, getattr(overrides, name))}",
                f"It fits with {_option(name, _planned(name, plan.settings))}.",
            )
    needed = format_bytes(required_ram(shape))
    return MemoryShortage(message, f"Without a GPU it needs {needed} of free RAM.")


def _gpu_memory(devices: Sequence[Device]) -> str:
    """A clause about the memory of GPUs, in addition to or as part of the RAM."""
    if not devices:
        return ""
    free = format_bytes(sum(device.free for device in devices))
    if all(device.shares_ram and not device.carveout for device in devices):
        return f", of which the GPU can use {free}"
    return f" and {free} of GPU memory"


def required_ram(shape: ModelShape) -> int:
    """Bytes of free RAM that the model needs without a GPU, with the smallest context."""
    smallest = Settings(
        (), (), shape.expert_layers, min(MIN_CTX, shape.n_ctx_train), 1, False, UBATCH, UBATCH,
        KvType.F16, 1, LoadMode.MMAP, repack=False,
    )  # fmt: skip
    return int(predict(shape, smallest, ()).host.total / (1 - RAM_MARGIN))


def _planned(name: str, settings: Settings) -> int | tuple[str, ...]:
    value: int | tuple[str, ...] = (
        len(settings.experts_in_ram) if name == "cpu_moe" else getattr(settings, name)
    )
    return value


def _option(name: str, value: int | tuple[str, ...]) -> str:
    option = "device" if name == "devices" else name.replace("_", "-")
    return f"--{option} {','.join(value) or 'cpu' if isinstance(value, tuple) else value}"
