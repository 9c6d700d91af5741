"""Writes ossctl/data/probe.gguf: `python -m tools.probe_gguf`.

A gpt-oss of three layers in whose matrices stands every type for which ggml has kernels beside its plain ones
(AMX: ggml/src/ggml-cpu/amx/amx.cpp; other layouts: ggml_repack_get_optimal_repack_type in repack.cpp).
All experts are used, so that no rounding decides between two of them, and rows repeat, so that the file packs
well.
"""

from pathlib import Path

from gguf import GGMLQuantizationType as Type

import ossctl
from tests.support.models import Shape, byte_vocabulary, write_gpt_oss

PROBE = Path(ossctl.__file__).parent / "data" / "probe.gguf"
SHAPE = Shape(
    layers=3,
    hidden=256,
    heads=4,
    kv_heads=2,
    experts=2,
    used=2,
    width=256,
    context=4096,
    attention=(
        *(Type.Q4_0, Type.Q4_1, Type.Q8_0, Type.Q2_K),
        *(Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL),
        *(Type.IQ4_XS, Type.F16, Type.MXFP4, Type.Q4_0),
    ),
    expert=(Type.MXFP4, Type.Q4_K, Type.Q4_0),
    rows=24,  # no divisor or multiple of the 16 rows of a tile
)

if __name__ == "__main__":
    write_gpt_oss(PROBE, byte_vocabulary(), shape=SHAPE)
