"""A plan's bytes against those that llama.cpp reports, and against what the driver says is gone."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ossctl.app.inference.loading import LoadedModel
from ossctl.planning.machine import MIB, shown_bytes
from ossctl.planning.memory import DeviceUse
from ossctl.planning.plan import Plan
from ossctl.planning.settings import LoadMode
from tools.devices.finding import Finding, judged

# Of the purpose's bytes, and bytes that nobody would notice. Weights and cache are sums: they are exact up to
# padding. Compute buffers are what an allocator comes to, for a graph that differs a little by backend.
_EXACT, _COMPUTE = (0.002, 2 * MIB), (0.05, 16 * MIB)
_TOLERANCES = {"weights": _EXACT, "kv": _EXACT, "compute": _COMPUTE}


@dataclass(frozen=True)
class Taken:
    """Bytes less that are free on the device: as this process sees it, from when its context is there, and as
    another one does, its context included."""

    here: int
    seen: int


def compared(loaded: LoadedModel, taken: Taken | None) -> Finding:
    """Failed if llama.cpp took what was not planned, or the driver more besides than is left free for it."""
    plan = loaded.plan
    assert plan is not None
    planned = dict(zip(loaded.reported, (*plan.prediction.devices, plan.prediction.host), strict=True))
    faults = [*loaded.remarks, *_differences(plan, planned, loaded)]
    parts = [_shown(name, use) for name, use in loaded.reported.items()]
    figures: dict[str, Any] = {
        "settings": asdict(plan.settings),
        "planned": {name: asdict(use) for name, use in planned.items()},
        "reported": {name: asdict(use) for name, use in loaded.reported.items()},
    }
    if taken is not None and plan.devices:
        beside, assumed = _beside(taken, loaded, planned)
        figures |= {"taken": asdict(taken), "driver_bytes": beside, "assumed_driver_bytes": assumed}
        parts.append(f"the driver takes {shown_bytes(beside)}, assumed {shown_bytes(assumed)}")
        if beside > assumed:
            faults.append("the driver takes more than is left free for it")
    settings = plan.settings
    parts.append(f"ctx {settings.ctx:,}, ubatch {settings.ubatch:,}")
    return judged("memory", faults, ", ".join(parts), figures)


def _beside(taken: Taken, loaded: LoadedModel, planned: dict[str, DeviceUse]) -> tuple[int, int]:
    """Bytes that the driver takes beside llama.cpp's buffers, and what the plan leaves free for them."""
    name = next(iter(loaded.reported))
    return taken.here - loaded.reported[name].total, planned[name].overhead


def _differences(plan: Plan, planned: dict[str, DeviceUse], loaded: LoadedModel) -> Iterator[str]:
    for name, use in planned.items():
        on_device = name in plan.settings.devices
        for purpose, (share, least) in _TOLERANCES.items():
            if purpose == "weights" and not on_device and plan.settings.load_mode is LoadMode.MMAP:
                continue  # what is mapped may reach over what is not used
            expected, found = getattr(use, purpose), getattr(loaded.reported[name], purpose)
            if abs(expected - found) > max(least, share * found):
                yield f"{name} {purpose}: planned {_mib(expected)}, llama.cpp reports {_mib(found)}"


def _shown(name: str, use: DeviceUse) -> str:
    weights, kv, compute = (f"{n_bytes / MIB:,.0f}" for n_bytes in (use.weights, use.kv, use.compute))
    return f"{name} {weights} + {kv} + {compute} MiB"


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / MIB:,.0f} MiB"
