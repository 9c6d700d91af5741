"""Write nano as GGUF: `python -m tools.nano.export IN.pt OUT.gguf [--plain]`.

Experts are stored as MXFP4 and other matrices as Q8_0, as in training; `--plain` keeps the rounded values but
stores them as F32, to compare llama.cpp with PyTorch.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter, RopeScalingType, TokenType
from gguf.quants import dequantize, quantize

from tests.support.models import spelling
from tools.nano.model import NanoModel, Shape
from tools.nano.rounding import mxfp4, q8_0
from tools.nano.tokenizer import CONTROL, NanoTokenizer

_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
_ROUNDINGS = {Type.MXFP4: mxfp4, Type.Q8_0: q8_0}

# ours -> llama.cpp's
_OF_A_LAYER: dict[str, tuple[str, Type]] = {
    "attention_norm.weight": ("attn_norm.weight", Type.F32),
    "experts_norm.weight": ("post_attention_norm.weight", Type.F32),
    "attention.q.weight": ("attn_q.weight", Type.Q8_0),
    "attention.q.bias": ("attn_q.bias", Type.F32),
    "attention.k.weight": ("attn_k.weight", Type.Q8_0),
    "attention.k.bias": ("attn_k.bias", Type.F32),
    "attention.v.weight": ("attn_v.weight", Type.Q8_0),
    "attention.v.bias": ("attn_v.bias", Type.F32),
    "attention.out.weight": ("attn_output.weight", Type.Q8_0),
    "attention.out.bias": ("attn_output.bias", Type.F32),
    "attention.sinks": ("attn_sinks.weight", Type.F32),
    "experts.router.weight": ("ffn_gate_inp.weight", Type.F32),
    "experts.router.bias": ("ffn_gate_inp.bias", Type.F32),
    "experts.gate": ("ffn_gate_exps.weight", Type.MXFP4),
    "experts.gate_bias": ("ffn_gate_exps.bias", Type.F32),
    "experts.up": ("ffn_up_exps.weight", Type.MXFP4),
    "experts.up_bias": ("ffn_up_exps.bias", Type.F32),
    "experts.down": ("ffn_down_exps.weight", Type.MXFP4),
    "experts.down_bias": ("ffn_down_exps.bias", Type.F32),
}
_OUTSIDE: dict[str, tuple[str, Type]] = {
    "embedding.weight": ("token_embd.weight", Type.Q8_0),
    "norm.weight": ("output_norm.weight", Type.F32),
    "output.weight": ("output.weight", Type.Q8_0),
}


def load(path: Path) -> tuple[NanoModel, NanoTokenizer]:
    """A checkpoint of `nano.train`."""
    saved: dict[str, Any] = torch.load(path, weights_only=False)
    model = NanoModel(Shape(**saved["shape"]))
    model.load_state_dict(saved["model"])
    return model.eval(), saved["tokenizer"]


def export(model: NanoModel, tokenizer: NanoTokenizer, path: Path, *, plain: bool = False) -> None:
    writer = GGUFWriter(os.fspath(path), "gpt-oss")
    _add_shape(writer, model.shape)
    _add_vocabulary(writer, tokenizer)
    for name, value in model.state_dict().items():
        target, kind = _target(name)
        data = value.float()
        if kind is Type.F32:
            writer.add_tensor(target, data.numpy())
        elif plain:
            writer.add_tensor(target, _ROUNDINGS[kind](data).numpy())
        else:
            writer.add_tensor(target, quantize(data.numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def restore(path: Path) -> NanoModel:
    """The model in a GGUF file that `export` wrote, its weights as they were rounded."""
    reader = GGUFReader(path)

    def number(key: str) -> int:
        return int(reader.fields[f"gpt-oss.{key}"].contents())

    shape = Shape(
        vocabulary=len(reader.fields["tokenizer.ggml.tokens"].data),
        layers=number("block_count"),
        hidden=number("embedding_length"),
        heads=number("attention.head_count"),
        kv_heads=number("attention.head_count_kv"),
        head_dim=number("attention.key_length"),
        experts=number("expert_count"),
        used=number("expert_used_count"),
        width=number("expert_feed_forward_length"),
        window=number("attention.sliding_window"),
        context=number("context_length"),
    )
    stored = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    model = NanoModel(shape)
    model.load_state_dict({name: torch.tensor(stored[_target(name)[0]]) for name in model.state_dict()})
    return model.eval()


def _target(name: str) -> tuple[str, Type]:
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    _, layer, rest = name.split(".", 2)
    target, kind = _OF_A_LAYER[rest]
    return f"blk.{layer}.{target}", kind


def _add_shape(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name("nano, a test and demo model")
    writer.add_description("A test and demo model of ossctl's: it speaks Harmony and knows almost nothing.")
    writer.add_license("apache-2.0")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.width)
    writer.add_expert_feed_forward_length(shape.width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_expert_count(shape.experts)
    writer.add_expert_used_count(shape.used)
    writer.add_sliding_window(shape.window)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(150_000.0)
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(32.0)
    writer.add_rope_scaling_orig_ctx_len(4096)


def _add_vocabulary(writer: GGUFWriter, tokenizer: NanoTokenizer) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list([*map(_spelling, tokenizer.pieces), *CONTROL])
    writer.add_token_types([TokenType.NORMAL] * len(tokenizer.pieces) + [TokenType.CONTROL] * len(CONTROL))
    writer.add_token_merges([f"{_spelling(left)} {_spelling(right)}" for left, right in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.id_of("<|startoftext|>") or 0)
    writer.add_eos_token_id(tokenizer.id_of("<|return|>") or 0)
    writer.add_pad_token_id(tokenizer.id_of("<|endoftext|>") or 0)
    if _TEMPLATE.exists():
        writer.add_chat_template(_TEMPLATE.read_text("utf-8"))


def _spelling(piece: bytes) -> str:
    table = spelling()
    return "".join(table[byte] for byte in piece)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    export(*load(args.checkpoint), args.out, plain=args.plain)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
