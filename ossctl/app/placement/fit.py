"""Whether and how a model fits a machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ossctl.app.placement.memory_corrections import with_less_memory
from ossctl.app.placement.reservation import plan_by_reservation
from ossctl.errors import MemoryShortage, OssctlError
from ossctl.planning.machine import Machine
from ossctl.planning.memory import DeviceUse
from ossctl.planning.plan import Plan
from ossctl.planning.planner import make_plan, required_ram
from ossctl.planning.settings import Settings
from ossctl.planning.shape import ModelShape
from ossctl.planning.workload import Overrides, Workload


@dataclass(frozen=True)
class DoesNotFit:
    """`error` says why the model does not fit, or does not suit the overrides.

    `required_ram` is bytes of free RAM with which it would run without a GPU.
    """

    shape: ModelShape
    required_ram: int
    error: OssctlError


Fit = Plan | DoesNotFit


def fit_of(
    shape: ModelShape,
    machine: Machine,
    workload: Workload | None = None,
    overrides: Overrides | None = None,
    reserve: Callable[[Settings], Mapping[str, DeviceUse]] | None = None,
) -> Fit:
    """The plan for `workload` (by default interactive), or why none fits. Raises UsageError.

    If `reserve` is given, the plan fits by llama.cpp's own figures, as `reservation.reserved` gives them.
    """

    def make(n_bytes: int) -> Plan:
        less = with_less_memory(machine, n_bytes) if n_bytes else machine
        return make_plan(less, shape, workload or Workload(), overrides or Overrides())

    try:
        return plan_by_reservation(make, reserve or (lambda _: {}), 0)
    except MemoryShortage as error:
        return DoesNotFit(shape, required_ram(shape), error)
