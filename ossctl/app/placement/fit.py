"""Whether a model fits a machine, and how it would run there."""

from dataclasses import dataclass

from ossctl.errors import MemoryShortage, OssctlError
from ossctl.planning.goal import Fixed, Goal
from ossctl.planning.machine import Machine
from ossctl.planning.plan import Plan
from ossctl.planning.planner import make_plan, needed_ram
from ossctl.planning.shape import ModelShape


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
    shape: ModelShape, machine: Machine, goal: Goal | None = None, fixed: Fixed | None = None
) -> Fit:
    """The plan, for a conversation unless `goal` says otherwise, or why there is none. Raises UsageError."""
    try:
        return make_plan(machine, shape, goal or Goal(), fixed or Fixed())
    except MemoryShortage as error:
        return DoesNotFit(shape, needed_ram(shape), error)
