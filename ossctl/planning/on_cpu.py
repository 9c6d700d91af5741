"""Decisions for models that run on the CPU alone: repacking, and the kind of attention."""

from ossctl.planning.machine import GIB, Machine
from ossctl.planning.settings import Settings
from ossctl.planning.shape import KvType, ModelShape
from ossctl.planning.workload import Purpose, Workload

_QUICKLY_REPACKED = 2 * GIB  # weights, repacked in a second or two
_FEW_CELLS = 256  # 8 sequences of SmolLM2: plain is 13 % slower with 64 cells, 24 % faster with 256
_LONG_BATCH = 200  # requests after which a slower load pays off


def should_repack(machine: Machine, shape: ModelShape, workload: Workload) -> bool:
    """Whether to repack weights for the optimised CPU kernels.

    These are 10 to 20 % faster, but loading is slower and takes twice the RAM. With AMX, prefill is 3 to 4
    times as fast (SmolLM2), except for experts.
    """
    weights = shape.weight_bytes
    batch = workload.purpose is Purpose.BATCH
    long = batch and (workload.requests is None or workload.requests >= _LONG_BATCH)
    amx = machine.amx and sum(layer.expert_bytes for layer in shape.layers) < weights / 2
    return machine.extra_kernels and (long or amx or weights <= _QUICKLY_REPACKED)


def prefers_plain_attention(
    machine: Machine, shape: ModelShape, workload: Workload, settings: Settings
) -> bool:
    """Whether plain attention is faster than flash attention for this workload.

    Behind thousands of tokens, flash attention takes up to 3 times as long to decode a token, but its prefill
    is 1.5 times as fast (`AttentionCosts`). Batches of short requests are a seventh faster with it, and in a
    unified cache it skips the cells of other sequences. A quantised cache requires it. Plain attention would
    have to copy or pad the values of a model without a V cache (DeepSeek) or with several widths of V.
    """
    widths = {layer.v_width for layer in shape.kinds if layer.k_width}
    supported = settings.kv_type is KvType.F16 and len(widths) == 1 and 0 not in widths
    short = workload.prompt_tokens + workload.answer_tokens / 2 < _FEW_CELLS
    if not workload.plain_attention or not supported:
        return False
    if workload.purpose is Purpose.BATCH and (short or settings.unified):
        return False
    return machine.attention.prefers_plain(workload.prompt_tokens, workload.answer_tokens)
