"""GGUF files with the exact tensor shapes of well-known models, and none of their weights.

The shapes are those of the models' own `config.json` on Hugging Face, the types those of a Q4_K_M without its
mix: matrices Q4_K, some Q6_K and Q8_0, norms and routers F32.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, TokenType

from ossctl.planning.header import Header, shape_of
from ossctl.planning.shape import ModelShape

_Q4, _Q6, _Q8, _F32 = (getattr(GGMLQuantizationType, name) for name in ("Q4_K", "Q6_K", "Q8_0", "F32"))
_ALIGNMENT = 32  # of tensors in a GGUF
_STATE, _CONVOLUTION = 128, 4  # widths of a recurrent head and of the convolution before it
_SOFTMAX, _SIGMOID = 1, 2  # enum llama_expert_gating_func_type, src/llama-hparams.h
_Tensor = tuple[str, tuple[int, ...], GGMLQuantizationType]


@dataclass(frozen=True)
class HollowModel:
    """Sizes of a model. `expert_width` is 0 without experts, `kv_lora` without latent attention (MLA).

    The first `n_dense` layers have no experts, and `shared` experts are computed for every token. The last of
    every `interval` layers has attention with a gate; the others are recurrent, with `state_heads` heads.
    """

    architecture: str
    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head: int
    ffn: int
    vocabulary: int
    ctx: int
    n_experts: int = 0
    n_used: int = 0
    expert_width: int = 0
    shared: int = 0
    n_dense: int = 0
    gating: int = _SOFTMAX
    scale: float = 1.0
    kv_lora: int = 0
    q_lora: int = 0
    rope: int = 0
    window: int = 0
    head_norms: bool = False
    biased: bool = False
    post_norms: tuple[str, ...] = ()
    ffn_norm: str = "ffn_norm"
    tied: bool = False
    interval: int = 0
    state_heads: int = 0
    state_groups: int = 0


HOLLOW = {
    "deepseek-v2-lite": HollowModel(
        "deepseek2", 27, 2048, 16, 1, 128, 10_944, 102_400, 163_840, 64, 6, 1408, shared=2, n_dense=1,
        kv_lora=512, rope=64,
    ),
    "deepseek-v2": HollowModel(
        "deepseek2", 60, 5120, 128, 1, 128, 12_288, 102_400, 163_840, 160, 6, 1536, shared=2, n_dense=1,
        scale=16.0, kv_lora=512, q_lora=1536, rope=64,
    ),
    "deepseek-r1": HollowModel(
        "deepseek2", 61, 7168, 128, 1, 128, 18_432, 129_280, 163_840, 256, 8, 2048, shared=1, n_dense=3,
        gating=_SIGMOID, scale=2.5, kv_lora=512, q_lora=1536, rope=64,
    ),
    "qwen3-30b": HollowModel(
        "qwen3moe", 48, 2048, 32, 4, 128, 6144, 151_936, 262_144, 128, 8, 768, head_norms=True
    ),
    "qwen3-235b": HollowModel(
        "qwen3moe", 94, 4096, 64, 4, 128, 12_288, 151_936, 40_960, 128, 8, 1536, head_norms=True
    ),
    "llama-8b": HollowModel("llama", 32, 4096, 32, 8, 128, 14_336, 128_256, 131_072),
    "qwen2-32b": HollowModel("qwen2", 64, 5120, 40, 8, 128, 27_648, 152_064, 131_072, biased=True),
    "gemma3-27b": HollowModel(
        "gemma3", 62, 5376, 32, 16, 128, 21_504, 262_208, 131_072, window=1024, head_norms=True,
        post_norms=("post_attention_norm", "post_ffw_norm"), tied=True,
    ),
    "glm-4.5-air": HollowModel(
        "glm4moe", 46, 4096, 96, 8, 128, 10_944, 151_552, 131_072, 128, 8, 1408, shared=1, n_dense=1,
        gating=_SIGMOID, rope=64, biased=True, ffn_norm="post_attention_norm",
    ),
    "qwen3-32b": HollowModel("qwen3", 64, 5120, 64, 8, 128, 25_600, 151_936, 40_960, head_norms=True),
}  # fmt: skip


# Most of their layers have a recurrent state instead of a cache.
HYBRID = {
    "qwen3-next": HollowModel(
        "qwen3next", 48, 2048, 16, 2, 256, 5120, 151_936, 262_144, 512, 10, 512, shared=1, rope=64,
        head_norms=True, ffn_norm="post_attention_norm", interval=4, state_heads=32, state_groups=16,
    ),
    "qwen3.5-27b": HollowModel(
        "qwen35", 64, 5120, 24, 4, 256, 17_408, 248_320, 262_144, rope=64,
        head_norms=True, ffn_norm="post_attention_norm", interval=4, state_heads=48, state_groups=16,
    ),
}  # fmt: skip


def hollow_shape(name: str) -> ModelShape:
    """The shape of the model `name` of HOLLOW or HYBRID, without a file."""
    model = {**HOLLOW, **HYBRID}[name]
    sizes = [(tensor[0], _n_bytes(tensor)) for tensor in _tensors(model)]
    metadata: dict[str, int | float | bool | str] = {"general.architecture": model.architecture}
    metadata |= {f"{model.architecture}.{key}": value for key, value in _numbers(model).items()}
    if model.shared:
        metadata[f"{model.architecture}.expert_weights_norm"] = model.gating == _SIGMOID
    lengths = {"tokenizer.ggml.tokens": model.vocabulary}
    return shape_of(Header(metadata, {}, lengths, sizes, sum(size for _, size in sizes)), name)


def hollow(path: Path, name: str) -> Path:
    """Write the model `name` of HOLLOW or HYBRID: a header, and a hole in place of the weights."""
    model = {**HOLLOW, **HYBRID}[name]
    tensors = _tensors(model)
    _write_header(path, name, model, tensors)
    start = path.stat().st_size + -path.stat().st_size % _ALIGNMENT
    os.truncate(path, start + sum(_n_bytes(each) + -_n_bytes(each) % _ALIGNMENT for each in tensors))
    return path


def _tensors(model: HollowModel) -> list[_Tensor]:
    return [*_outside(model), *(each for n in range(model.n_layers) for each in _layer(model, n))]


def _outside(model: HollowModel) -> Iterator[_Tensor]:
    yield "token_embd.weight", (model.vocabulary, model.hidden), _Q4
    yield "output_norm.weight", (model.hidden,), _F32
    if not model.tied:
        yield "output.weight", (model.vocabulary, model.hidden), _Q6


def _layer(model: HollowModel, number: int) -> Iterator[_Tensor]:
    attention = _latent_attention if model.kv_lora else _attention
    if model.interval and (number + 1) % model.interval:
        attention = _recurrence
    parts = [_norms(model), attention(model)]
    if model.n_experts and number >= model.n_dense:
        parts.append(_experts(model))
    else:
        parts.append(_feed_forward(model.hidden, model.ffn))
    for name, dims, kind in chain(*parts):
        yield f"blk.{number}.{name}", dims, kind


def _matrix(name: str, *dims: int, kind: GGMLQuantizationType = _Q4) -> _Tensor:
    block, _ = GGML_QUANT_SIZES[kind]
    return f"{name}.weight", dims, kind if dims[-1] % block == 0 else _Q8


def _vector(name: str, width: int) -> _Tensor:
    return name, (width,), _F32


def _norms(model: HollowModel) -> Iterator[_Tensor]:
    for norm in ("attn_norm", model.ffn_norm, *model.post_norms):
        yield _vector(f"{norm}.weight", model.hidden)


def _attention(model: HollowModel) -> Iterator[_Tensor]:
    h, q, kv = model.hidden, model.n_heads * model.head, model.n_kv_heads * model.head
    gated = 2 if model.interval else 1
    for name, width in (("q", q * gated), ("k", kv), ("v", kv)):
        yield _matrix(f"attn_{name}", width, h, kind=_Q6 if name == "v" else _Q4)
        if model.biased:
            yield _vector(f"attn_{name}.bias", width)
    yield _matrix("attn_output", h, q)
    for name in ("q", "k") if model.head_norms else ():
        yield _vector(f"attn_{name}_norm.weight", model.head)


def _recurrence(model: HollowModel) -> Iterator[_Tensor]:
    """Gated DeltaNet, with keys of `state_groups` heads."""
    h, heads, value = model.hidden, model.state_heads, model.state_heads * _STATE
    both = value + 2 * model.state_groups * _STATE
    yield _matrix("attn_qkv", both, h)
    yield _matrix("attn_gate", value, h)
    yield "ssm_conv1d.weight", (both, _CONVOLUTION), _F32
    yield _vector("ssm_dt.bias", heads)
    yield _vector("ssm_a", heads)
    for name in ("ssm_ba",) if model.n_experts else ("ssm_beta", "ssm_alpha"):
        yield _matrix(name, heads * (2 if model.n_experts else 1), h)
    yield _vector("ssm_norm.weight", _STATE)
    yield _matrix("ssm_out", h, value)


def _latent_attention(model: HollowModel) -> Iterator[_Tensor]:
    h, q = model.hidden, model.n_heads * (model.head + model.rope)
    if model.q_lora:
        yield _matrix("attn_q_a", model.q_lora, h)
        yield _vector("attn_q_a_norm.weight", model.q_lora)
        yield _matrix("attn_q_b", q, model.q_lora)
    else:
        yield _matrix("attn_q", q, h)
    yield _matrix("attn_kv_a_mqa", model.kv_lora + model.rope, h, kind=_Q8)
    yield _vector("attn_kv_a_norm.weight", model.kv_lora)
    yield _matrix("attn_k_b", model.n_heads, model.kv_lora, model.head, kind=_Q8)
    yield _matrix("attn_v_b", model.n_heads, model.head, model.kv_lora, kind=_Q8)
    yield _matrix("attn_output", h, model.n_heads * model.head)


def _experts(model: HollowModel) -> Iterator[_Tensor]:
    h, width = model.hidden, model.expert_width
    if model.gating == _SIGMOID:
        yield _vector("exp_probs_b.bias", model.n_experts)
    if model.shared:
        yield from _feed_forward(h, width * model.shared, "_shexp")
        if model.interval:
            yield _vector("ffn_gate_inp_shexp.weight", h)
    yield "ffn_gate_inp.weight", (model.n_experts, h), _F32
    for name in ("gate", "up"):
        yield _matrix(f"ffn_{name}_exps", model.n_experts, width, h)
    yield _matrix("ffn_down_exps", model.n_experts, h, width, kind=_Q6)


def _feed_forward(hidden: int, width: int, suffix: str = "") -> Iterator[_Tensor]:
    for name in ("gate", "up"):
        yield _matrix(f"ffn_{name}{suffix}", width, hidden)
    yield _matrix(f"ffn_down{suffix}", hidden, width, kind=_Q6)


def _n_bytes(tensor: _Tensor) -> int:
    _, dims, kind = tensor
    values, size = GGML_QUANT_SIZES[kind]
    return prod(dims) // values * size


def _write_header(path: Path, name: str, model: HollowModel, tensors: list[_Tensor]) -> None:
    writer = GGUFWriter(str(path), model.architecture)
    writer.add_name(name)
    for key, value in _numbers(model).items():
        writer.add_uint32(f"{model.architecture}.{key}", value)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    if model.architecture == "qwen35":
        writer.add_rope_dimension_sections([11, 11, 10, 0])
    if model.shared:  # the others' files have no such keys
        writer.add_expert_weights_scale(model.scale)
        writer.add_expert_weights_norm(model.gating == _SIGMOID)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"t{n}" for n in range(model.vocabulary)])
    writer.add_token_types([TokenType.NORMAL] * model.vocabulary)
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(0)
    for each in tensors:
        label, dims, kind = each
        values, size = GGML_QUANT_SIZES[kind]
        stored = dims if kind is _F32 else (*dims[:-1], dims[-1] // values * size)
        data = np.dtype(np.float32) if kind is _F32 else np.dtype(np.uint8)
        writer.add_tensor_info(label, stored, data, _n_bytes(each), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def _numbers(model: HollowModel) -> dict[str, int]:
    """Metadata by GGUF's keys; those that are 0 are left out."""
    cached = model.kv_lora + model.rope if model.kv_lora else model.head
    numbers = {
        "block_count": model.n_layers,
        "context_length": model.ctx,
        "embedding_length": model.hidden,
        "feed_forward_length": model.ffn,
        "attention.head_count": model.n_heads,
        "attention.head_count_kv": model.n_kv_heads,
        "attention.key_length": cached,
        "attention.value_length": model.kv_lora or model.head,
        "attention.sliding_window": model.window,
        "rope.dimension_count": model.rope or model.head,
        "expert_count": model.n_experts,
        "expert_used_count": model.n_used,
        "expert_feed_forward_length": model.expert_width,
        "expert_shared_count": model.shared,
        "leading_dense_block_count": model.n_dense,
        "expert_gating_func": model.gating if model.n_experts else 0,
    }
    if model.kv_lora:
        latent = {"kv_lora_rank": model.kv_lora, "q_lora_rank": model.q_lora}
        whole = {"key_length_mla": model.head + model.rope, "value_length_mla": model.head}
        numbers |= {f"attention.{key}": value for key, value in {**latent, **whole}.items()}
    if model.interval:
        numbers |= {
            "full_attention_interval": model.interval,
            "ssm.conv_kernel": _CONVOLUTION,
            "ssm.inner_size": model.state_heads * _STATE,
            "ssm.state_size": _STATE,
            "ssm.time_step_rank": model.state_heads,
            "ssm.group_count": model.state_groups,
        }
        if model.shared:
            numbers["expert_shared_feed_forward_length"] = model.expert_width * model.shared
    return {key: value for key, value in numbers.items() if value}
