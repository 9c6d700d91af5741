"""Whether and how a model fits a machine."""

from dataclasses import dataclass

from ossctl.errors import MemoryShortage, OssctlError
from ossctl.planning.machine import Machine
from ossctl.planning.plan import Plan
from ossctl.planning.planner import make_plan, required_ram
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
    shape: ModelShape, machine: Machine, workload: Workload | None = None, overrides: Overrides | None = None
) -> Fit:
    """The plan for `workload` (by default interactive), or why none fits. Raises UsageError."""
    try:
        return make_plan(machine, shape, workload or Workload(), overrides or Overrides())
    except MemoryShortage as error:
        return DoesNotFit(shape, required_ram(shape), error)
