"""Whether a model fits a machine, and how it would run there."""

from dataclasses import dataclass

from ossctl.errors import MemoryShortage, OssctlError
from ossctl.planning.machine import Machine
from ossctl.planning.plan import Plan
from ossctl.planning.planner import make_plan, needed_ram
from ossctl.planning.shape import ModelShape
from ossctl.planning.workload import Overrides, Workload


@dataclass(frozen=True)
class DoesNotFit:
    """A model that does not fit, or not with what was asked for: `error` says why.

    `needed` is bytes of RAM with which it would run without a GPU.
    """

    shape: ModelShape
    needed: int
    error: OssctlError


Fit = Plan | DoesNotFit


def outcome_of(
    shape: ModelShape, machine: Machine, workload: Workload | None = None, overrides: Overrides | None = None
) -> Fit:
    """The plan for `workload` (default: a conversation), or why none fits. Raises UsageError."""
    try:
        return make_plan(machine, shape, workload or Workload(), overrides or Overrides())
    except MemoryShortage as error:
        return DoesNotFit(shape, needed_ram(shape), error)
