"""GGUF files with the exact tensor shapes of the released gpt-oss models, and none of their weights."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, RopeScalingType, TokenType

SIZES = {"20b": (24, 32), "120b": (36, 128)}  # layers, experts a layer

_HIDDEN, _HEADS, _KV_HEADS, _HEAD_DIM, _WIDTH, _VOCABULARY = 2880, 64, 8, 64, 2880, 201_088
_MXFP4, _Q8_0, _F32 = GGMLQuantizationType.MXFP4, GGMLQuantizationType.Q8_0, GGMLQuantizationType.F32
_ALIGNMENT = 32  # of tensors in a GGUF
_PIECE = 1 << 18  # quantised blocks that are drawn once and repeated
_SCALES = {_Q8_0: np.float16(0.0003).tobytes(), _MXFP4: bytes([120])}  # of a block: weights of ordinary size


class Contents(IntEnum):
    """What is in the file: nothing; all but the experts, which are a hole; everything, at random.

    A hole takes no disk. As MXFP4 it has scales of 2^-128, denormal numbers, which Intel processors multiply
    some ten times slower; to a GPU they are numbers like others.
    """

    NOTHING = 0
    NO_EXPERTS = 1
    ALL = 2


@dataclass(frozen=True)
class _Tensor:
    """Its dimensions are in numpy's order."""

    name: str
    dims: tuple[int, ...]
    kind: GGMLQuantizationType

    @property
    def stored(self) -> tuple[int, ...]:
        """Dimensions of the bytes that hold it; values as they are if it is not quantised."""
        values, n_bytes = GGML_QUANT_SIZES[self.kind]
        return self.dims if self.kind is _F32 else (*self.dims[:-1], self.dims[-1] // values * n_bytes)

    @property
    def n_bytes(self) -> int:
        values, n_bytes = GGML_QUANT_SIZES[self.kind]
        return int(np.prod(self.dims)) // values * n_bytes

    @property
    def padded(self) -> int:
        """Bytes to the next tensor."""
        return self.n_bytes + -self.n_bytes % _ALIGNMENT


def hollow_gpt_oss(path: Path, n_layers: int, n_experts: int, contents: Contents = Contents.NOTHING) -> Path:
    """A gpt-oss with the released models' shapes: a header, and a hole where there are no contents."""
    tensors = list(_tensors(n_layers, n_experts))
    _write_header(path, n_layers, n_experts, tensors)
    start = path.stat().st_size + -path.stat().st_size % _ALIGNMENT
    os.truncate(path, start + sum(tensor.padded for tensor in tensors))
    if contents is not Contents.NOTHING:
        with path.open("r+b") as file:
            _fill(file, start, tensors, contents)
    return path


def _write_header(path: Path, n_layers: int, n_experts: int, tensors: list[_Tensor]) -> None:
    writer = GGUFWriter(str(path), "gpt-oss")
    writer.add_block_count(n_layers)
    writer.add_context_length(131_072)
    writer.add_embedding_length(_HIDDEN)
    writer.add_feed_forward_length(_WIDTH)
    writer.add_expert_feed_forward_length(_WIDTH)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_key_length(_HEAD_DIM)
    writer.add_value_length(_HEAD_DIM)
    writer.add_expert_count(n_experts)
    writer.add_expert_used_count(4)
    writer.add_sliding_window(128)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(150_000.0)
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(32.0)
    writer.add_rope_scaling_orig_ctx_len(4096)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list([f"t{n}" for n in range(_VOCABULARY)])
    writer.add_token_types([TokenType.NORMAL] * _VOCABULARY)
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(0)
    for each in tensors:
        data = np.dtype(np.float32) if each.kind is _F32 else np.dtype(np.uint8)
        writer.add_tensor_info(each.name, each.stored, data, each.n_bytes, raw_dtype=each.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def _tensors(n_layers: int, n_experts: int) -> Iterator[_Tensor]:
    q, kv = _HEADS * _HEAD_DIM, _KV_HEADS * _HEAD_DIM
    yield _Tensor("token_embd.weight", (_VOCABULARY, _HIDDEN), _Q8_0)
    yield _Tensor("output_norm.weight", (_HIDDEN,), _F32)
    yield _Tensor("output.weight", (_VOCABULARY, _HIDDEN), _Q8_0)
    for n in range(n_layers):
        for norm in ("attn_norm", "post_attention_norm"):
            yield _Tensor(f"blk.{n}.{norm}.weight", (_HIDDEN,), _F32)
        for name, width in (("q", q), ("k", kv), ("v", kv)):
            yield _Tensor(f"blk.{n}.attn_{name}.weight", (width, _HIDDEN), _Q8_0)
            yield _Tensor(f"blk.{n}.attn_{name}.bias", (width,), _F32)
        yield _Tensor(f"blk.{n}.attn_output.weight", (_HIDDEN, q), _Q8_0)
        yield _Tensor(f"blk.{n}.attn_output.bias", (_HIDDEN,), _F32)
        yield _Tensor(f"blk.{n}.attn_sinks.weight", (_HEADS,), _F32)
        yield _Tensor(f"blk.{n}.ffn_gate_inp.weight", (n_experts, _HIDDEN), _F32)
        yield _Tensor(f"blk.{n}.ffn_gate_inp.bias", (n_experts,), _F32)
        for name, out, inner in (
            ("gate", _WIDTH, _HIDDEN),
            ("up", _WIDTH, _HIDDEN),
            ("down", _HIDDEN, _WIDTH),
        ):
            yield _Tensor(f"blk.{n}.ffn_{name}_exps.weight", (n_experts, out, inner), _MXFP4)
            yield _Tensor(f"blk.{n}.ffn_{name}_exps.bias", (n_experts, out), _F32)


def _fill(file: BinaryIO, start: int, tensors: list[_Tensor], contents: Contents) -> None:
    rng = np.random.default_rng(0)
    blocks = {kind: _random_blocks(rng, kind) for kind in _SCALES}
    for tensor in tensors:
        file.seek(start)
        start += tensor.padded
        if tensor.kind is _F32:
            file.write(_random_values(rng, tensor))
        elif contents is Contents.ALL or tensor.kind is not _MXFP4:
            _repeat(file, blocks[tensor.kind], tensor.n_bytes)


def _random_blocks(rng: np.random.Generator, kind: GGMLQuantizationType) -> bytes:
    blocks = rng.integers(0, 256, (_PIECE, GGML_QUANT_SIZES[kind][1]), np.uint8)
    blocks[:, : len(_SCALES[kind])] = np.frombuffer(_SCALES[kind], np.uint8)
    return blocks.tobytes()


def _random_values(rng: np.random.Generator, tensor: _Tensor) -> bytes:
    """Norms of 1, a router that decides, small biases."""
    if "norm" in tensor.name:
        return np.ones(tensor.dims, np.float32).tobytes()
    scale = 0.5 if "ffn_gate_inp" in tensor.name else 0.02
    return (rng.standard_normal(tensor.dims, dtype=np.float32) * np.float32(scale)).tobytes()


def _repeat(file: BinaryIO, piece: bytes, n_bytes: int) -> None:
    while n_bytes > 0:
        n_bytes -= file.write(piece[:n_bytes])
