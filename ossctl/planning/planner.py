"""From machine, model and wishes to a plan, or to the reason why there is none."""

from collections.abc import Sequence
from dataclasses import replace

from ossctl.errors import MemoryShortage
from ossctl.planning.check import check_overrides, chosen_devices
from ossctl.planning.machine import RAM_MARGIN, Device, Machine, ram_margin, shown_bytes
from ossctl.planning.memory import predict
from ossctl.planning.plan import Plan
from ossctl.planning.search import Search
from ossctl.planning.settings import LoadMode, Settings
from ossctl.planning.shape import KvType, ModelShape
from ossctl.planning.tiers import LEAST_CTX, UBATCH
from ossctl.planning.workload import Overrides, Workload


def make_plan(machine: Machine, shape: ModelShape, workload: Workload, overrides: Overrides) -> Plan:
    """The best plan that fits and keeps what is fixed.

    Raises UsageError for what contradicts itself, the model or the machine, and MemoryShortage.
    """
    devices = chosen_devices(machine, overrides)
    check_overrides(shape, overrides, devices)
    best = _best(machine, shape, workload, overrides, devices)
    if best is None:
        raise _shortage(machine, shape, workload, overrides, devices)
    return best


def _best(
    machine: Machine, shape: ModelShape, workload: Workload, overrides: Overrides, devices: tuple[Device, ...]
) -> Plan | None:
    together = Search(machine, shape, workload, overrides, devices)
    rival = together.placed()
    placed = [(together, rival)]
    if len(devices) > 1:  # a GPU that holds as much alone needs no transfers
        roomiest = max(devices, key=lambda device: device.free)
        alone = Search(machine, shape, workload, overrides, (roomiest,))
        placed.insert(0, (alone, alone.placed(rival)))
    highest = max((found.rank for _, found in placed if found), default=None)
    plans = [search.finished(found) for search, found in placed if found and found.rank == highest]
    return max(plans, key=lambda plan: plan.quality, default=None)


def _shortage(
    machine: Machine, shape: ModelShape, workload: Workload, overrides: Overrides, devices: tuple[Device, ...]
) -> MemoryShortage:
    """What would be needed, and what of the user's own wishes stands in the way."""
    needed = needed_ram(shape)
    have = machine.ram_free - ram_margin(machine)
    message = f"{shape.name} does not fit into {shown_bytes(have)} of RAM{_beside_ram(devices)}"
    for name in ("parallel", "ctx", "ubatch", "gpu_layers", "cpu_moe", "devices"):
        if name not in overrides.given():
            continue
        freed = replace(overrides, **{name: None})
        found = _best(machine, shape, workload, freed, chosen_devices(machine, freed))
        if found is not None:
            return MemoryShortage(
                f"{message} with {_option(name, overrides)}", f"It does with {_instead(name, found)}."
            )
    return MemoryShortage(message, f"On the CPU alone it needs {shown_bytes(needed)} of free RAM.")


def _beside_ram(devices: Sequence[Device]) -> str:
    """What GPUs add to the RAM, or how much of it they may use."""
    if not devices:
        return ""
    free = shown_bytes(sum(device.free for device in devices))
    if all(device.shares_ram and not device.carved_out for device in devices):
        return f", of which the GPU may use {free}"
    return f" and {free} on GPUs"


def needed_ram(shape: ModelShape) -> int:
    """Bytes of RAM that the model needs at the least: on the CPU, with the smallest context."""
    least = Settings(
        (), (), shape.expert_layers, min(LEAST_CTX, shape.n_ctx_train), 1, False, UBATCH, UBATCH,
        KvType.F16, 1, LoadMode.MMAP, repack=False,
    )  # fmt: skip
    return int(predict(shape, least, ()).host.total / (1 - RAM_MARGIN))


def _option(name: str, overrides: Overrides) -> str:
    value = getattr(overrides, name)
    shown = ",".join(value) or "cpu" if isinstance(value, tuple) else f"{value}"
    return f"--{_OPTIONS.get(name, name.replace('_', '-'))} {shown}"


def _instead(name: str, plan: Plan) -> str:
    settings = plan.settings
    value: object = {
        "parallel": settings.parallel,
        "ctx": settings.ctx,
        "ubatch": settings.ubatch,
        "gpu_layers": settings.gpu_layers,
        "cpu_moe": len(settings.experts_in_ram),
        "devices": ",".join(settings.devices) or "cpu",
    }[name]
    return f"--{_OPTIONS.get(name, name.replace('_', '-'))} {value}"


_OPTIONS = {"devices": "device"}
