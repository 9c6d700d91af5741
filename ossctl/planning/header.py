"""A model's shape from its GGUF header: metadata and the names and sizes of its tensors.

Keys are those of the GGUF specification; what llama.cpp derives from them is in src/llama-hparams.cpp and
src/models. For gpt-oss the shape is exact. Of an architecture whose window pattern is not known here, every
layer counts as full attention, which takes more memory than it will.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ossctl.errors import ModelError
from ossctl.planning.shape import LayerShape, ModelShape

Number = int | float
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_EXPERTS = re.compile(r"ffn_(up|gate|down|gate_up)_exps")
_KEYS_OF_ATTENTION = re.compile(r"attn_(k|qkv|kv_a_mqa|kv_b|k_b)\.")

# Of so many layers, the last one sees all tokens and the others a window (load_swa_pattern in src/models).
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
_STATE_FLOAT = 4  # recurrent states are float32


@dataclass(frozen=True)
class Header:
    """What a GGUF file, or all of a split one, says about itself. `tensors` are names and bytes."""

    metadata: Mapping[str, Number | bool | str]
    arrays: Mapping[str, Sequence[Number]]
    array_lengths: Mapping[str, int]
    tensors: Sequence[tuple[str, int]]
    file_bytes: int


def shape_of(header: Header, name: str) -> ModelShape:
    """The planner's view of a model. Raises ModelError if the header lacks what every model has."""
    keys = _Keys(header)
    n_layers = keys.needed("block_count")
    if not 1 <= n_layers <= 1024:
        raise ModelError(f"{name} says that it has {n_layers} layers", "The file is damaged.")
    dense, experts, rest, with_keys = _bytes_by_layer(header.tensors)
    heads, kv_heads = keys.per_layer("attention.head_count", n_layers), _kv_heads(keys, n_layers)
    head_dim = keys.get("attention.key_length") or keys.needed("embedding_length") // max(1, *heads)
    v_dim = keys.get("attention.value_length") or head_dim
    latent = keys.get("attention.key_length_mla") > 0  # keys and values in one (DeepSeek)
    windows = _windows(keys, n_layers)
    state = _state_bytes(keys)
    layers = tuple(
        LayerShape(
            dense_bytes=dense[n],
            expert_bytes=experts[n],
            k_width=head_dim * kv_heads[n] if n in with_keys else 0,
            v_width=0 if latent or n not in with_keys else v_dim * kv_heads[n],
            window=windows[n],
            state_bytes=0 if n in with_keys else state,
        )
        for n in range(n_layers)
    )
    tied = 0 if "output.weight" in rest else rest.get("token_embd.weight", 0)
    output = sum(size for tensor, size in rest.items() if tensor.startswith("output"))
    embedding = sum(size for tensor, size in rest.items() if not tensor.startswith("output"))
    ffn = max(keys.per_layer("feed_forward_length", n_layers, 0))
    return ModelShape(
        name=name,
        architecture=keys.architecture,
        n_ctx_train=keys.needed("context_length"),
        n_vocab=header.array_lengths.get("tokenizer.ggml.tokens", 0) or keys.needed("vocab_size"),
        n_embd=keys.needed("embedding_length"),
        q_width=max(heads) * head_dim,
        attention_width=max(heads) * v_dim,
        head_dim=head_dim,
        ffn_width=ffn,
        expert_width=max(keys.per_layer("expert_feed_forward_length", n_layers, ffn)),
        n_expert=keys.get("expert_count"),
        n_expert_used=max(keys.per_layer("expert_used_count", n_layers, 0)),
        layers=layers,
        embedding_bytes=embedding,
        output_bytes=output + tied,
        tied_bytes=tied,
        file_bytes=header.file_bytes,
    )


class _Keys:
    """Metadata of one architecture."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self.architecture = str(header.metadata.get("general.architecture", ""))

    def get(self, key: str) -> int:
        """A whole number, 0 if it is not there."""
        value = self._header.metadata.get(f"{self.architecture}.{key}", 0)
        return int(value) if isinstance(value, int | float) else 0

    def needed(self, key: str) -> int:
        value = self.get(key)
        if value < 1:
            raise ModelError(
                f"the header, of architecture '{self.architecture}', has no usable {key}",
                "It is not a language model, or the file is damaged.",
            )
        return value

    def array(self, key: str) -> Sequence[Number]:
        return self._header.arrays.get(f"{self.architecture}.{key}", ())

    def per_layer(self, key: str, n_layers: int, default: int = 1) -> list[int]:
        """A value for each layer; files give one for all or a list."""
        listed = [int(value) for value in self.array(key)][:n_layers]
        single = self.get(key) or default
        return listed + [single] * (n_layers - len(listed))


def _kv_heads(keys: _Keys, n_layers: int) -> list[int]:
    heads = keys.per_layer("attention.head_count", n_layers)
    kv_heads = keys.per_layer("attention.head_count_kv", n_layers, 0)
    given = keys.array("attention.head_count_kv")
    return [kv if kv or given else own for kv, own in zip(kv_heads, heads, strict=True)]


def _windows(keys: _Keys, n_layers: int) -> list[int]:
    window = keys.get("attention.sliding_window")
    listed = keys.array("attention.sliding_window_pattern")
    if listed:
        return [window if on else 0 for on in (*listed, *[0] * n_layers)][:n_layers]
    period = keys.get("attention.sliding_window_pattern") or _PERIOD.get(keys.architecture, 1)
    return [window if n % period < period - 1 else 0 for n in range(n_layers)]


def _state_bytes(keys: _Keys) -> int:
    """What a layer without keys keeps of a sequence (n_embd_r and n_embd_s in llama-hparams.cpp)."""
    inner, state, groups = (keys.get(f"ssm.{key}") for key in ("inner_size", "state_size", "group_count"))
    convolution = max(0, keys.get("ssm.conv_kernel") - 1) * (inner + 2 * groups * state)
    rwkv = keys.get("wkv.head_size") * keys.get("embedding_length")
    return (inner * state + convolution + rwkv) * _STATE_FLOAT


def _bytes_by_layer(
    tensors: Iterable[tuple[str, int]],
) -> tuple[dict[int, int], dict[int, int], dict[str, int], set[int]]:
    """Bytes of each layer without and of its experts, of the other tensors by name; layers with keys."""
    dense: dict[int, int] = defaultdict(int)
    experts: dict[int, int] = defaultdict(int)
    rest: dict[str, int] = {}
    with_keys: set[int] = set()
    for name, size in tensors:
        found = _BLOCK.match(name)
        if found is None:
            rest[name] = size
            continue
        number = int(found[1])
        (experts if _EXPERTS.match(found[2]) else dense)[number] += size
        if _KEYS_OF_ATTENTION.match(found[2]):
            with_keys.add(number)
    return dense, experts, rest, with_keys
