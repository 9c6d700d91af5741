"""Small models of several architectures, with random weights.

`qwen3` has attention in every layer. The others are recurrent: `mamba` has states alone; `lfm2` has short
convolutions in every second layer, and `qwen35` gated delta nets, as Qwen3-Next has them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

from tests.support.models import spelling
from tests.support.random_weights import RandomWeights, written

_LAYERS, _WIDTH, _FFN, _HEADS, _HEAD = 4, 64, 128, 4, 32
_STATE, _KERNEL = 16, 4
_CONTEXT = 4096
_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def small_model(
    path: Path, architecture: str, template: str | None = None, control: Sequence[str] = ()
) -> Path:
    """Write a model of one of ARCHITECTURES with a vocabulary of bytes, ChatML's markers, and `control`."""
    writer = GGUFWriter(str(path), architecture)
    writer.add_name(f"tiny {architecture}, random weights")
    writer.add_block_count(_LAYERS)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    markers = list(dict.fromkeys((*_CONTROL, *control)))
    tokens = [*(spelling()[byte] for byte in range(256)), *markers]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * 256 + [TokenType.CONTROL] * len(markers))
    writer.add_token_merges(["ÿ ÿ"])  # llama.cpp wants a list
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    if template is not None:
        writer.add_chat_template(template)
    weights = _Weights(writer)
    weights.matrix("token_embd", len(tokens), _WIDTH)
    ARCHITECTURES[architecture](writer, weights)
    return written(writer, path)


class _Weights(RandomWeights):
    def norms(self, *names: str, width: int = _WIDTH) -> None:
        for name in names:
            self.norm(name, width)

    def vector(self, name: str, *dims: int, low: float = -0.5, high: float = 0.5) -> None:
        self._writer.add_tensor(name, self._random.uniform(low, high, dims).astype(np.float32))

    def feed_forward(self, block: str) -> None:
        for part in ("ffn_gate", "ffn_up"):
            self.matrix(f"{block}.{part}", _FFN, _WIDTH)
        self.matrix(f"{block}.ffn_down", _WIDTH, _FFN)

    def attention(self, block: str, head: int, *, gated: bool = False) -> None:
        """Attention with two heads of keys and values; if `gated`, queries have a gate beside them."""
        for part, rows in (("q", _HEADS * head * (2 if gated else 1)), ("k", 2 * head), ("v", 2 * head)):
            self.matrix(f"{block}.attn_{part}", rows, _WIDTH)
        self.matrix(f"{block}.attn_output", _WIDTH, _HEADS * head)
        self.norms(f"{block}.attn_q_norm", f"{block}.attn_k_norm", width=head)


def _add_qwen3(writer: GGUFWriter, weights: _Weights) -> None:
    _add_attention(writer)
    weights.norms("output_norm")
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        weights.norms(f"{block}.attn_norm", f"{block}.ffn_norm")
        weights.feed_forward(block)
        weights.attention(block, _HEAD)


def _add_mamba(writer: GGUFWriter, weights: _Weights) -> None:
    inner, rank = 2 * _WIDTH, 8
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    _add_state(writer, inner, rank)
    weights.norms("output_norm")
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        weights.norms(f"{block}.attn_norm")
        weights.matrix(f"{block}.ssm_in", 2 * inner, _WIDTH)
        weights.vector(f"{block}.ssm_conv1d.weight", inner, _KERNEL)
        weights.vector(f"{block}.ssm_conv1d.bias", inner)
        weights.matrix(f"{block}.ssm_x", rank + 2 * _STATE, inner)
        weights.matrix(f"{block}.ssm_dt", inner, rank)
        weights.vector(f"{block}.ssm_dt.bias", inner)
        weights.vector(f"{block}.ssm_a", inner, _STATE, low=-0.1, high=-0.01)
        weights.vector(f"{block}.ssm_d", inner)
        weights.matrix(f"{block}.ssm_out", _WIDTH, inner)


def _add_lfm2(writer: GGUFWriter, weights: _Weights) -> None:
    head = _WIDTH // _HEADS
    writer.add_feed_forward_length(_FFN)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv([0, 2, 0, 2])
    writer.add_shortconv_l_cache(3)
    writer.add_rope_freq_base(1e6)
    weights.norms("token_embd_norm")
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        weights.norms(f"{block}.attn_norm", f"{block}.ffn_norm")
        weights.feed_forward(block)
        if layer % 2:
            weights.attention(block, head)
        else:
            weights.vector(f"{block}.shortconv.conv.weight", _WIDTH, 3)
            weights.matrix(f"{block}.shortconv.in_proj", 3 * _WIDTH, _WIDTH)
            weights.matrix(f"{block}.shortconv.out_proj", _WIDTH, _WIDTH)


def _add_qwen35(writer: GGUFWriter, weights: _Weights) -> None:
    key_heads, value_heads = 2, 4
    keys, values = key_heads * _STATE, value_heads * _STATE
    _add_attention(writer)
    writer.add_rope_dimension_count(_HEAD)
    writer.add_rope_dimension_sections([8, 4, 4, 0])
    writer.add_full_attention_interval(2)
    _add_state(writer, values, value_heads)
    writer.add_ssm_group_count(key_heads)
    weights.norms("output_norm")
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        weights.norms(f"{block}.attn_norm", f"{block}.post_attention_norm")
        weights.feed_forward(block)
        if layer % 2:
            weights.attention(block, _HEAD, gated=True)
            continue
        weights.matrix(f"{block}.attn_qkv", 2 * keys + values, _WIDTH)
        weights.matrix(f"{block}.attn_gate", values, _WIDTH)
        weights.vector(f"{block}.ssm_conv1d.weight", 2 * keys + values, _KERNEL)
        weights.vector(f"{block}.ssm_dt.bias", value_heads)
        weights.vector(f"{block}.ssm_a", value_heads, low=-0.1, high=-0.01)
        weights.matrix(f"{block}.ssm_beta", value_heads, _WIDTH)
        weights.matrix(f"{block}.ssm_alpha", value_heads, _WIDTH)
        weights.norms(f"{block}.ssm_norm", width=_STATE)
        weights.matrix(f"{block}.ssm_out", _WIDTH, values)


def _add_attention(writer: GGUFWriter) -> None:
    writer.add_feed_forward_length(_FFN)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(2)
    writer.add_key_length(_HEAD)
    writer.add_value_length(_HEAD)
    writer.add_rope_freq_base(1e6)


def _add_state(writer: GGUFWriter, inner: int, rank: int) -> None:
    writer.add_ssm_conv_kernel(_KERNEL)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(_STATE)
    writer.add_ssm_time_step_rank(rank)


ARCHITECTURES: dict[str, Callable[[GGUFWriter, _Weights], None]] = {
    "qwen3": _add_qwen3,
    "mamba": _add_mamba,
    "lfm2": _add_lfm2,
    "qwen35": _add_qwen35,
}
RECURRENT = ("mamba", "lfm2", "qwen35")
