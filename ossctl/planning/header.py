"""Derive a model's shape from its GGUF header: metadata, and names and sizes of tensors.

The keys are those of the GGUF specification, and are interpreted as in llama.cpp's src/llama-hparams.cpp and
src/models. The shape is exact for gpt-oss. For an architecture whose sliding window pattern is not known
here, all layers count as full attention, which overestimates memory.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ossctl.errors import ModelError
from ossctl.planning.shape import LatentAttention, LayerShape, ModelShape

Number = int | float
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_EXPERTS = re.compile(r"ffn_(up|gate|down|gate_up)_exps")
_EXPERT_MATRICES = [f"ffn_{name}_exps.weight" for name in ("gate_up", "gate", "up", "down")]  # as computed
_KEYS_OF_ATTENTION = re.compile(r"attn_(k|kv_a_mqa|kv_b|k_b)\.")
_FUSED_KEYS = re.compile(r"attn_qkv\.")  # of linear attention (Qwen3-Next), if the layer is recurrent
_RECURRENT = re.compile(r"ssm_conv1d|shortconv\.conv|time_mix_")

# The last of every N layers has full attention, the others a sliding window (load_swa_pattern in src/models).
_PERIOD = {
    "afmoe": 4,
    "cohere2": 4,
    "exaone-moe": 4,
    "exaone4": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "olmo2": 4,
    "plamo3": 8,
}
_MAMBA = 2  # a layer without a feed-forward part is computed as one that is twice as wide as its state
_STATE_FLOAT = 4  # recurrent states are float32
_MAX_LAYERS = 1024
_MAX_EXPERTS = 1024  # twice LLAMA_MAX_EXPERTS, src/llama-hparams.h
_MAX_NUMBER = 2**32 - 1  # llama.cpp has them as uint32


@dataclass(frozen=True)
class Header:
    """The header of a GGUF file, or of all shards of one. `tensors` are names and bytes."""

    metadata: Mapping[str, Number | bool | str]
    arrays: Mapping[str, Sequence[Number]]
    array_lengths: Mapping[str, int]
    tensors: Sequence[tuple[str, int]]
    file_bytes: int


def shape_of(header: Header, name: str) -> ModelShape:
    """The shape of a model. Raises ModelError if the header lacks a required key, or has an invalid one."""
    keys = _Keys(header)
    n_layers = keys.required("block_count")
    if n_layers > _MAX_LAYERS:
        raise ModelError(f"{name} claims to have {n_layers} layers", "The file is damaged.")
    tensors = _TensorBytes.of(header.tensors)
    heads = max(keys.per_layer("attention.head_count", n_layers))
    head_dim, v_dim = _head_dims(keys, n_layers)
    latent = _latent(keys)
    if latent:  # its key length is that of what it caches
        head_dim, v_dim = latent.nope + latent.rope, latent.value
    tied = 0 if "output.weight" in tensors.other else tensors.other.get("token_embd.weight", 0)
    output = sum(size for tensor, size in tensors.other.items() if tensor.startswith("output"))
    ffn = max(keys.per_layer("feed_forward_length", n_layers, 0)) or _MAMBA * keys.get("ssm.inner_size")
    expert = max(keys.per_layer("expert_feed_forward_length", n_layers, ffn))
    n_expert, n_expert_used = _experts(keys, n_layers, tensors)
    return ModelShape(
        name=name,
        architecture=keys.architecture,
        n_ctx_train=keys.required("context_length"),
        n_vocab=header.array_lengths.get("tokenizer.ggml.tokens", 0) or keys.required("vocab_size"),
        n_embd=keys.required("embedding_length"),
        q_width=heads * head_dim,
        attention_width=heads * v_dim,
        head_dim=head_dim,
        ffn_width=ffn,
        expert_width=expert,
        n_expert=n_expert,
        n_expert_used=n_expert_used,
        layers=tuple(_layers(keys, n_layers, tensors)),
        embedding_bytes=sum(tensors.other.values()) - output,
        output_bytes=output + tied,
        tied_bytes=tied,
        file_bytes=header.file_bytes,
        shared_width=keys.get("expert_shared_feed_forward_length")
        or keys.get("expert_shared_count") * expert,
        latent=latent,
        normalised=bool(header.metadata.get(f"{keys.architecture}.expert_weights_norm", True)),
        biased_choice=any(tensor.endswith("exp_probs_b.bias") for tensor in tensors.named),
    )


class _Keys:
    """The metadata under the prefix of the header's architecture."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self.architecture = str(header.metadata.get("general.architecture", ""))

    def get(self, key: str) -> int:
        """A number as an integer, 0 if it is missing. Raises ModelError."""
        value = self._header.metadata.get(f"{self.architecture}.{key}", 0)
        return 0 if isinstance(value, str) else self._checked(key, value)

    def required(self, key: str) -> int:
        """A positive integer. Raises ModelError."""
        value = self.get(key)
        if value < 1:
            raise self.invalid(key)
        return value

    def array(self, key: str) -> list[int]:
        """Numbers as integers, none if they are missing. Raises ModelError."""
        values = self._header.arrays.get(f"{self.architecture}.{key}", ())
        return [self._checked(key, value) for value in values]

    def per_layer(self, key: str, n_layers: int, default: int = 1) -> list[int]:
        """An integer for each layer. Files have a list, or one value for all layers."""
        values = self.array(key)[:n_layers]
        return values + [self.get(key) or default] * (n_layers - len(values))

    def _checked(self, key: str, value: Number) -> int:
        if not 0 <= value <= _MAX_NUMBER:  # nor is NaN
            raise self.invalid(key)
        return int(value)

    def invalid(self, key: str) -> ModelError:
        """The error for a key without a value that can be used."""
        return ModelError(
            f"the GGUF header has no valid {key} for architecture '{self.architecture}'",
            "It is not a language model, or the file is damaged.",
        )


def _layers(keys: _Keys, n_layers: int, tensors: "_TensorBytes") -> Iterator[LayerShape]:
    head_dim, v_dim = _head_dims(keys, n_layers)
    if keys.get("attention.key_length_mla"):  # MLA (DeepSeek) caches no separate values
        v_dim = 0
    state = _state_bytes(keys)
    for n, (heads, window) in enumerate(
        zip(_kv_heads(keys, n_layers), _windows(keys, n_layers), strict=True)
    ):
        cached = heads if n in tensors.attention_layers else 0
        yield LayerShape(
            dense_bytes=tensors.dense[n],
            expert_bytes=tensors.experts[n],
            k_width=head_dim * cached,
            v_width=v_dim * cached,
            window=window,
            state_bytes=state if n in tensors.recurrent_layers else 0,
            expert_matrices=tensors.expert_matrices(n),
        )


def _experts(keys: _Keys, n_layers: int, tensors: "_TensorBytes") -> tuple[int, int]:
    """The number of experts, and how many a token uses. Raises ModelError as llama.cpp fails."""
    n_expert = keys.get("expert_count")
    n_used = max(keys.per_layer("expert_used_count", n_layers, 0))
    has_experts = any(tensors.experts.values())
    if n_expert > _MAX_EXPERTS or (has_experts and not n_expert):
        raise keys.invalid("expert_count")
    if n_used > n_expert or (has_experts and not n_used):
        raise keys.invalid("expert_used_count")
    return n_expert, n_used


def _latent(keys: _Keys) -> LatentAttention | None:
    """The widths of MLA; files without those of its heads are computed as usual attention."""
    key = keys.get("attention.key_length_mla")
    if not key:
        return None
    rope = keys.get("rope.dimension_count")
    if rope > key:
        raise keys.invalid("rope.dimension_count")
    return LatentAttention(
        q_rank=keys.get("attention.q_lora_rank"),
        kv_rank=keys.get("attention.kv_lora_rank"),
        rope=rope,
        nope=key - rope,
        value=keys.get("attention.value_length_mla"),
    )


def _head_dims(keys: _Keys, n_layers: int) -> tuple[int, int]:
    """Values of a key head and of a value head."""
    heads = max(1, *keys.per_layer("attention.head_count", n_layers))
    key = keys.get("attention.key_length") or keys.required("embedding_length") // heads
    return key, keys.get("attention.value_length") or key


def _kv_heads(keys: _Keys, n_layers: int) -> list[int]:
    """The number of key and value heads of each layer; without a key for it, that of query heads."""
    heads = keys.per_layer("attention.head_count", n_layers)
    kv_heads = keys.per_layer("attention.head_count_kv", n_layers, 0)
    given = keys.array("attention.head_count_kv")
    return [kv if kv or given else own for kv, own in zip(kv_heads, heads, strict=True)]


def _windows(keys: _Keys, n_layers: int) -> list[int]:
    """The sliding window of each layer in tokens, 0 for full attention."""
    window = keys.get("attention.sliding_window")
    pattern = keys.array("attention.sliding_window_pattern")
    if pattern:
        return [window if windowed else 0 for windowed in (*pattern, *[0] * n_layers)][:n_layers]
    period = keys.get("attention.sliding_window_pattern") or _PERIOD.get(keys.architecture, 1)
    return [window if n % period < period - 1 else 0 for n in range(n_layers)]


def _state_bytes(keys: _Keys) -> int:
    """Bytes of a recurrent layer's state per sequence (n_embd_r and n_embd_s in llama-hparams.cpp)."""
    embd, before = keys.get("embedding_length"), max(0, keys.get("ssm.conv_kernel") - 1)
    if width := keys.get("shortconv.l_cache"):  # LFM2
        return (width - 1) * embd * _STATE_FLOAT
    if head := keys.get("wkv.head_size"):  # RWKV
        return (head + keys.get("token_shift_count")) * embd * _STATE_FLOAT
    if head := keys.get("kda.head_dim"):  # Kimi
        return (head + 3 * before) * keys.get("attention.head_count") * head * _STATE_FLOAT
    inner, state, groups = (keys.get(f"ssm.{key}") for key in ("inner_size", "state_size", "group_count"))
    return (inner * state + before * (inner + 2 * groups * state)) * _STATE_FLOAT


@dataclass(frozen=True)
class _TensorBytes:
    """Bytes of tensors: by layer, without and of experts, and by name of those outside of layers."""

    dense: Mapping[int, int]
    experts: Mapping[int, int]
    other: Mapping[str, int]
    attention_layers: frozenset[int]
    recurrent_layers: frozenset[int]
    named: Mapping[str, int]

    def expert_matrices(self, layer: int) -> tuple[int, ...]:
        """Bytes of the layer's matrices of experts, in the order of computation."""
        sizes = (self.named.get(f"blk.{layer}.{name}", 0) for name in _EXPERT_MATRICES)
        return tuple(size for size in sizes if size)

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, int]]) -> "_TensorBytes":
        dense: dict[int, int] = defaultdict(int)
        experts: dict[int, int] = defaultdict(int)
        other: dict[str, int] = {}
        named: dict[str, int] = {}
        attention, fused, recurrent = set[int](), set[int](), set[int]()
        for name, size in tensors:
            found = _BLOCK.match(name)
            if found is None:
                other[name] = size
                continue
            number = int(found[1])
            named[name] = size
            (experts if _EXPERTS.match(found[2]) else dense)[number] += size
            for pattern, layers in (
                (_KEYS_OF_ATTENTION, attention),
                (_FUSED_KEYS, fused),
                (_RECURRENT, recurrent),
            ):
                if pattern.match(found[2]):
                    layers.add(number)
        return cls(
            dense, experts, other, frozenset(attention | fused - recurrent), frozenset(recurrent), named
        )
