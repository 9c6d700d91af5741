"""The tiers that a search tries, from best to worst.

They do not depend on the machine's memory, so more memory can only lead to a better tier.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from ossctl.planning.machine import GIB
from ossctl.planning.plan import COMFORTABLE_CTX, SHORT_CTX
from ossctl.planning.shape import ModelShape
from ossctl.planning.workload import Overrides, Purpose, Workload

BATCH_CTX = 4_096  # tokens per request of a batch, by default
MIN_CTX = 512  # tokens; less is not useful
UBATCH = 512  # llama.cpp's default n_ubatch
_FEW_SEQUENCES = 8
_LARGE_EXPERTS = 16 * GIB


class Placement(Enum):
    """All layers on GPUs; experts of some in RAM; some layers in RAM; no GPU."""

    FULL = auto()
    EXPERTS_IN_RAM = auto()
    LAYERS_IN_RAM = auto()
    CPU = auto()


@dataclass(frozen=True)
class Tier:
    """A kind of placement, with the smallest context and ubatch (in tokens) and number of sequences."""

    placement: Placement
    ctx: int
    parallel: int
    unified: bool
    ubatch: int


def tiers(shape: ModelShape, workload: Workload, overrides: Overrides, *, with_gpus: bool) -> Iterator[Tier]:
    """The tiers for a workload. With GPUs, the last ones are without them, unless overrides ask for GPUs."""
    candidates = (
        _batch(shape, workload, overrides)
        if workload.purpose is Purpose.BATCH
        else _interactive(shape, workload, overrides)
    )
    without_gpus = not with_gpus or not overrides.given() & {"gpu_layers", "cpu_moe", "devices"}
    for tier in dict.fromkeys(candidates):
        if without_gpus if tier.placement is Placement.CPU else with_gpus:
            yield tier


def _interactive(shape: ModelShape, workload: Workload, overrides: Overrides) -> Iterator[Tier]:
    def tier(placement: Placement, ctx: int, ubatch: int = UBATCH) -> Tier:
        ctx = overrides.ctx or min(ctx, workload.useful_ctx(shape))
        parallel = overrides.parallel or workload.conversations
        shared = workload.conversations > 1 and parallel > 1
        return Tier(placement, ctx, parallel, shared, ubatch=overrides.ubatch or ubatch)

    yield tier(Placement.FULL, COMFORTABLE_CTX)
    for ubatch in (_fast_ubatch(shape), UBATCH):
        yield tier(Placement.EXPERTS_IN_RAM, COMFORTABLE_CTX, ubatch)
    for ctx in (SHORT_CTX, SHORT_CTX // 4, MIN_CTX):
        for placement in (Placement.FULL, Placement.EXPERTS_IN_RAM, Placement.LAYERS_IN_RAM):
            yield tier(placement, ctx)
    for ctx in (COMFORTABLE_CTX, SHORT_CTX, SHORT_CTX // 4, MIN_CTX):
        yield tier(Placement.CPU, ctx)


def _batch(shape: ModelShape, workload: Workload, overrides: Overrides) -> Iterator[Tier]:
    few = overrides.parallel or min(_FEW_SEQUENCES, workload.requests or _FEW_SEQUENCES)
    fewer = [n for n in (4, 2, 1) if n < few and overrides.parallel is None]
    long = overrides.parallel is None and (overrides.ctx or 0) > BATCH_CTX  # most requests are shorter

    def tier(
        placement: Placement,
        parallel: int,
        ubatch: int = UBATCH,
        *,
        ctx: int = BATCH_CTX,
        shared: bool = False,
    ) -> Tier:
        ctx = overrides.ctx or min(ctx, workload.useful_ctx(shape))
        return Tier(placement, ctx, parallel, shared and parallel > 1, overrides.ubatch or ubatch)

    yield tier(Placement.FULL, few)
    if long:
        yield tier(Placement.FULL, few, shared=True)
    for ubatch in (_fast_ubatch(shape), UBATCH):
        yield tier(Placement.EXPERTS_IN_RAM, few, ubatch)
    for placement in Placement:
        yield tier(placement, few)
        if long:
            yield tier(placement, few, shared=True)
        for parallel in fewer[:-1]:
            yield tier(placement, parallel)
        yield tier(placement, few, shared=True)  # takes no more memory than a single sequence
        for parallel in fewer[-1:]:
            yield tier(placement, parallel)
    for ctx in (BATCH_CTX // 4, MIN_CTX):
        yield tier(Placement.CPU, overrides.parallel or 1, ctx=ctx)


def _fast_ubatch(shape: ModelShape) -> int:
    """A large ubatch for prefill with experts in RAM: they are copied to the GPU once per ubatch."""
    return 4_096 if has_large_experts(shape) else 2_048


def has_large_experts(shape: ModelShape) -> bool:
    """Whether copying all experts to a GPU takes longer than computing a few thousand tokens with them."""
    return sum(layer.expert_bytes for layer in shape.layers) > _LARGE_EXPERTS
