"""What the planner has to know of a model: bytes by class, cache geometry, widths of its activations."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from typing import Any


class KvType(StrEnum):
    """The data type of the KV cache."""

    F16 = "f16"
    Q8_0 = "q8_0"

    def bytes_of(self, n_values: int) -> int:
        """Bytes of `n_values` values. A q8_0 block has 32 values in 34 bytes (block_q8_0, ggml-common.h)."""
        return n_values * 2 if self is KvType.F16 else n_values // 32 * 34


@dataclass(frozen=True, slots=True)
class LayerShape:
    """A layer: bytes of weights, and widths of its keys and values (values per token).

    `dense_bytes` are the weights that every token uses: attention, norms, router, shared experts. `window` is
    the sliding window in tokens, 0 for full attention. `state_bytes` is the size of a recurrent state per
    sequence. `expert_matrices` are the bytes of the experts' gate, up and down matrices, each of all experts;
    if they are not known, they are thirds of `expert_bytes`.
    """

    dense_bytes: int
    expert_bytes: int
    k_width: int
    v_width: int
    window: int = 0
    state_bytes: int = 0
    expert_matrices: tuple[int, ...] = ()

    @property
    def matrices(self) -> tuple[int, ...]:
        """Bytes of the experts' matrices in the order of computation; () if there are no experts."""
        return self.expert_matrices or (self.expert_bytes // 3,) * (3 if self.expert_bytes else 0)


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Widths of DeepSeek's multi-head latent attention (MLA).

    `q_rank` and `kv_rank` are those of the compressed queries, 0 without, and of the cached vector. The
    others are values of a head: with rotary positions, without them, and of its result.
    """

    q_rank: int
    kv_rank: int
    rope: int
    nope: int
    value: int


@dataclass(frozen=True)
class ModelShape:
    """What the planner needs to know of a model. Widths are values per token.

    `output_bytes` are the output matrix and norm. `tied_bytes` of them are shared with the token embedding,
    of which a GPU with the output layer gets a copy. `file_bytes` is the size of all shards.
    `shared_width` is the width of the experts that every token uses; with `biased_choice`, a bias is added to
    choose the others, and if `normalised`, the sum of their weights is 1.
    """

    name: str
    architecture: str
    n_ctx_train: int
    n_vocab: int
    n_embd: int
    q_width: int
    attention_width: int
    head_dim: int
    ffn_width: int
    expert_width: int
    n_expert: int
    n_expert_used: int
    layers: tuple[LayerShape, ...]
    embedding_bytes: int
    output_bytes: int
    tied_bytes: int
    file_bytes: int
    shared_width: int = 0
    latent: LatentAttention | None = None
    biased_choice: bool = False
    normalised: bool = True

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def n_heads(self) -> int:
        return self.q_width // max(1, self.head_dim)

    @cached_property
    def expert_layers(self) -> tuple[int, ...]:
        """Indices of the layers with experts."""
        return tuple(n for n, layer in enumerate(self.layers) if layer.expert_bytes)

    @cached_property
    def kinds(self) -> frozenset[LayerShape]:
        """The distinct layers."""
        return frozenset(self.layers)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all weights, counting tied ones once."""
        layers = sum(layer.dense_bytes + layer.expert_bytes for layer in self.layers)
        return layers + self.embedding_bytes + self.output_bytes - self.tied_bytes

    @cached_property
    def active_bytes(self) -> int:
        """Bytes of weights that one token reads: all but the embedding and unused experts."""
        used = self.n_expert_used / self.n_expert if self.n_expert else 0.0
        layers = sum(layer.dense_bytes + int(layer.expert_bytes * used) for layer in self.layers)
        return layers + self.output_bytes

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ModelShape":
        """The inverse of `as_record`."""
        layers = tuple(
            replace(LayerShape(*values), expert_matrices=tuple(values[-1])) for values in record["layers"]
        )
        latent = LatentAttention(*record["latent"]) if record.get("latent") else None
        return cls(**{**record, "layers": layers, "latent": latent})

    def as_record(self) -> dict[str, Any]:
        """A JSON object, in which each layer is a list of its fields in order."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        latent = list(astuple(self.latent)) if self.latent else None
        return {**record, "layers": [list(astuple(layer)) for layer in self.layers], "latent": latent}
