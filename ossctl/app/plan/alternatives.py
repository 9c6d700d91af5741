"""What would improve a plan: a larger GPU, or a smaller context."""

from collections.abc import Iterator
from dataclasses import replace

from ossctl.app.placement.machine import hypothetical
from ossctl.errors import MemoryShortage, UsageError
from ossctl.planning.cards import nominal
from ossctl.planning.machine import GIB, Machine
from ossctl.planning.plan import SHORT_CTX, Plan
from ossctl.planning.planner import make_plan
from ossctl.planning.workload import Overrides

_GPU_SIZES = (8, 12, 16, 24, 32, 48, 80, 96, 192)  # common sizes in GiB


def alternatives(plan: Plan) -> Iterator[str]:
    """Changes that would improve the plan, each with what they improve."""
    yield from _larger_gpu(plan)
    yield from _shorter_ctx(plan)


def _larger_gpu(plan: Plan) -> Iterator[str]:
    devices = plan.machine.devices
    optimal = plan.all_on_gpu and plan.settings.ctx == plan.shape.n_ctx_train
    if optimal or len(devices) > 1 or any(device.shares_ram for device in devices):
        return
    present = max((device.total for device in devices), default=0)
    for size in _GPU_SIZES:
        if size * GIB < present * 1.1:
            continue
        machine = hypothetical(plan.machine, vram=[nominal(size * GIB)])
        other = _replanned(plan, machine, _overrides_of(plan))
        if other and (improvement := _improvement(plan, other)):
            yield f"with a GPU of {size} GiB: {improvement}"
            return


def _shorter_ctx(plan: Plan) -> Iterator[str]:
    settings = plan.settings
    if not settings.devices or not settings.experts_in_ram or settings.ctx <= SHORT_CTX:
        return
    other = _replanned(plan, plan.machine, replace(_overrides_of(plan), ctx=SHORT_CTX))
    if other and (improvement := _improvement(plan, other)):
        yield f"with --ctx {SHORT_CTX}: {improvement}"


def _replanned(plan: Plan, machine: Machine, overrides: Overrides) -> Plan | None:
    """A plan for the same model and workload, if one fits."""
    try:
        return make_plan(machine, plan.shape, plan.workload, overrides)
    except (MemoryShortage, UsageError):
        return None


def _overrides_of(plan: Plan) -> Overrides:
    """The user's overrides, without those of placement."""
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


def _improvement(plan: Plan, other: Plan) -> str:
    """What is better about `other`; "" if nothing is."""
    before, after = plan.settings, other.settings
    improvements = []
    if other.all_on_gpu and not plan.all_on_gpu:
        improvements.append("everything on the GPU")
    elif len(after.experts_in_ram) < len(before.experts_in_ram):
        improvements.append(
            f"experts of {len(after.experts_in_ram)} layers in RAM instead of {len(before.experts_in_ram)}"
        )
    if after.ctx > before.ctx:
        improvements.append(f"a context of {after.ctx:,} instead of {before.ctx:,}")
    if after.parallel > before.parallel:
        improvements.append(f"{after.parallel} sequences instead of {before.parallel}")
    return ", ".join(improvements)
