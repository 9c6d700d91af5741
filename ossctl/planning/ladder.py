"""The kinds of placement, from the best to the least, that a search tries in this order.

Nothing here depends on memory, so that more memory can only reach a better rung.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from ossctl.planning.goal import Fixed, Goal, Purpose
from ossctl.planning.machine import GIB
from ossctl.planning.plan import COMFORTABLE_CTX, SHORT_CTX
from ossctl.planning.shape import ModelShape

BATCH_CTX = 4_096  # tokens a request of a batch, if nothing is said
LEAST_CTX = 512  # tokens; less is of no use
UBATCH = 512  # llama.cpp's n_ubatch
_FEW_SEQUENCES = 8
# A larger ubatch pays while copying the experts in RAM takes longer than computing with them.
_LARGE_EXPERTS = 16 * GIB


class Placement(Enum):
    """Everything on GPUs; experts of some layers in RAM; whole layers in RAM; no GPU."""

    FULL = auto()
    EXPERTS_IN_RAM = auto()
    LAYERS_IN_RAM = auto()
    CPU = auto()


@dataclass(frozen=True)
class Rung:
    """One kind of placement with its least sizes: tokens, sequences, tokens."""

    placement: Placement
    ctx: int
    parallel: int
    unified: bool
    ubatch: int


def rungs(shape: ModelShape, goal: Goal, fixed: Fixed, *, with_gpus: bool) -> Iterator[Rung]:
    """The ladder for what the user wants. With GPUs, the CPU alone is last, if nothing was said of GPUs."""
    steps = _batch(shape, goal, fixed) if goal.use is Purpose.BATCH else _interactive(shape, goal, fixed)
    cpu = not with_gpus or not fixed.given() & {"gpu_layers", "cpu_moe", "devices"}
    for rung in dict.fromkeys(steps):
        if cpu if rung.placement is Placement.CPU else with_gpus:
            yield rung


def _interactive(shape: ModelShape, goal: Goal, fixed: Fixed) -> Iterator[Rung]:
    def rung(placement: Placement, ctx: int, ubatch: int = UBATCH) -> Rung:
        ctx = fixed.ctx or min(ctx, goal.useful_ctx(shape))
        parallel = fixed.parallel or goal.conversations
        shared = goal.conversations > 1 and parallel > 1
        return Rung(placement, ctx, parallel, shared, ubatch=fixed.ubatch or ubatch)

    yield rung(Placement.FULL, COMFORTABLE_CTX)
    for ubatch in (_paying_ubatch(shape), UBATCH):
        yield rung(Placement.EXPERTS_IN_RAM, COMFORTABLE_CTX, ubatch)
    for ctx in (SHORT_CTX, SHORT_CTX // 4, LEAST_CTX):
        for placement in (Placement.FULL, Placement.EXPERTS_IN_RAM, Placement.LAYERS_IN_RAM):
            yield rung(placement, ctx)
    for ctx in (COMFORTABLE_CTX, SHORT_CTX, SHORT_CTX // 4, LEAST_CTX):
        yield rung(Placement.CPU, ctx)


def _batch(shape: ModelShape, goal: Goal, fixed: Fixed) -> Iterator[Rung]:
    few = fixed.parallel or min(_FEW_SEQUENCES, goal.requests or _FEW_SEQUENCES)
    fewer = [n for n in (4, 2, 1) if n < few and fixed.parallel is None]
    long = fixed.parallel is None and (fixed.ctx or 0) > BATCH_CTX  # than most requests

    def rung(
        placement: Placement,
        parallel: int,
        ubatch: int = UBATCH,
        *,
        ctx: int = BATCH_CTX,
        shared: bool = False,
    ) -> Rung:
        ctx = fixed.ctx or min(ctx, goal.useful_ctx(shape))
        return Rung(placement, ctx, parallel, shared and parallel > 1, fixed.ubatch or ubatch)

    yield rung(Placement.FULL, few)
    if long:
        yield rung(Placement.FULL, few, shared=True)
    for ubatch in (_paying_ubatch(shape), UBATCH):
        yield rung(Placement.EXPERTS_IN_RAM, few, ubatch)
    for placement in Placement:
        yield rung(placement, few)
        if long:
            yield rung(placement, few, shared=True)
        for parallel in fewer[:-1]:
            yield rung(placement, parallel)
        yield rung(placement, few, shared=True)  # what one alone may use
        for parallel in fewer[-1:]:
            yield rung(placement, parallel)
    for ctx in (BATCH_CTX // 4, LEAST_CTX):
        yield rung(Placement.CPU, fixed.parallel or 1, ctx=ctx)


def _paying_ubatch(shape: ModelShape) -> int:
    """With experts in RAM, every ubatch has them copied to the GPU once: large ones are faster."""
    return 4_096 if copying_decides(shape) else 2_048


def copying_decides(shape: ModelShape) -> bool:
    """Whether copying all experts to a GPU takes longer than computing some thousand tokens with them."""
    return sum(layer.expert_bytes for layer in shape.layers) > _LARGE_EXPERTS
