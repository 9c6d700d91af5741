"""Choices where a model is computed on the CPU alone."""

from ossctl.planning.machine import GIB, Machine
from ossctl.planning.settings import Settings
from ossctl.planning.shape import KvType, ModelShape
from ossctl.planning.workload import Purpose, Workload

_REPACKED_AT_ONCE = 2 * GIB  # weights that are repacked within a second or two
_FEW_CELLS = 256  # 8 sequences of SmolLM2: plain is 13 % slower behind 64, 24 % faster behind 256
_LONG_JOB = 200  # requests after which a slower load has paid off


def repacks(machine: Machine, shape: ModelShape, workload: Workload) -> bool:
    """Whether the weights go into layouts of the CPU's own.

    They are 10 to 20 % faster, load slower and take twice the RAM. With AMX's tiles prompts are read 3 to 4
    times as fast (SmolLM2), but not by experts.
    """
    weights = shape.weight_bytes
    long = workload.use is Purpose.BATCH and (workload.requests is None or workload.requests >= _LONG_JOB)
    tiles = machine.amx and sum(layer.expert_bytes for layer in shape.layers) < weights / 2
    return machine.extra_kernels and (long or tiles or weights <= _REPACKED_AT_ONCE)


def prefers_plain_attention(
    machine: Machine, shape: ModelShape, workload: Workload, settings: Settings
) -> bool:
    """Whether plain attention is sooner done than flash attention, if its scores fit as well.

    Flash attention takes up to 3 times as long for a token behind thousands of others, but reads a prompt
    half as fast again (`AttentionCosts`): what is read and written decides. Behind few tokens, a batch is a
    seventh faster with it; and it skips the cells of other sequences, where these share a cache. Quantised
    values need it; where the cache has none of their own (DeepSeek), or of several widths, plain attention
    would copy or pad.
    """
    widths = {layer.v_width for layer in shape.kinds if layer.k_width}
    suits_values = settings.kv_type is KvType.F16 and len(widths) == 1 and 0 not in widths
    short = workload.reads + workload.writes / 2 < _FEW_CELLS
    if not suits_values or (workload.use is Purpose.BATCH and (short or settings.unified)):
        return False
    return machine.attention.prefers_plain(workload.reads, workload.writes)
