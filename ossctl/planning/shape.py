"""What the planner has to know of a model: bytes by class, cache geometry, widths of its activations."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from enum import StrEnum
from functools import cached_property
from typing import Any


class KvType(StrEnum):
    """How the cache holds keys and values."""

    F16 = "f16"
    Q8_0 = "q8_0"

    def bytes_of(self, n_values: int) -> int:
        """Bytes of `n_values`; q8_0 keeps 32 in 34 bytes (block_q8_0, ggml-common.h)."""
        return n_values * 2 if self is KvType.F16 else n_values // 32 * 34


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer: bytes of weights, and values that the cache keeps of one token.

    `dense_bytes` are used by every token (attention, norms, router, shared experts), `expert_bytes` by those
    that the router sends there. `window` 0 is full attention. `state_bytes` is what a recurrent layer keeps
    of a sequence, whatever its length.
    """

    dense_bytes: int
    expert_bytes: int
    k_width: int
    v_width: int
    window: int = 0
    state_bytes: int = 0


@dataclass(frozen=True)
class ModelShape:
    """A model as the planner sees it. Widths are numbers of values of one token.

    `output_bytes` is the head with its norm. Where the embedding serves as the head, `tied_bytes` of that are
    there already, but a GPU that holds the head gets its own copy. `file_bytes` is the size of all files.
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

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def n_heads(self) -> int:
        return self.q_width // max(1, self.head_dim)

    @cached_property
    def expert_layers(self) -> tuple[int, ...]:
        """Numbers of the layers that have experts."""
        return tuple(n for n, layer in enumerate(self.layers) if layer.expert_bytes)

    @cached_property
    def kinds(self) -> frozenset[LayerShape]:
        """The layers that differ."""
        return frozenset(self.layers)

    @cached_property
    def weight_bytes(self) -> int:
        """All weights, once."""
        layers = sum(layer.dense_bytes + layer.expert_bytes for layer in self.layers)
        return layers + self.embedding_bytes + self.output_bytes - self.tied_bytes

    @cached_property
    def active_bytes(self) -> int:
        """Weights that one token reads: all but the embedding and the experts that it is not sent to."""
        part = self.n_expert_used / self.n_expert if self.n_expert else 0.0
        layers = sum(layer.dense_bytes + int(layer.expert_bytes * part) for layer in self.layers)
        return layers + self.output_bytes

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ModelShape":
        """The shape that `as_record` has written."""
        layers = tuple(LayerShape(*values) for values in record["layers"])
        return cls(**{**record, "layers": layers})

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON; a layer is a list of its fields in order."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**record, "layers": [list(astuple(layer)) for layer in self.layers]}
