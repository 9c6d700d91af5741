"""What llama.cpp reserves compute buffers for: a ubatch, and layers placed on backends."""

from dataclasses import dataclass

from ossctl.planning.shape import LatentAttention, ModelShape


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """The backends that compute a layer and its experts; the last backend is the CPU.

    `expert_matrices` (bytes of each), `dense_bytes` and `cache_bytes` (keys and values) are in RAM and copied
    to the GPU for every ubatch. With `fused_experts`, gate and up are one matrix. `extra_bytes` is the
    workspace of attention: on a GPU beside its result, for MLA without flash attention a copy of the cache.
    """

    device: int
    experts: int
    windowed: bool
    has_experts: bool
    expert_matrices: tuple[int, ...] = ()
    fused_experts: bool = False
    dense_bytes: int = 0
    cache_bytes: int = 0
    extra_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Ubatch:
    """Sizes of the reserved ubatch: tokens, rows of logits, and values (tokens * cells) of the masks."""

    n_tokens: int
    n_outputs: int
    mask: int
    window_mask: int


@dataclass(frozen=True, slots=True)
class Widths:
    """Values per token of each kind of tensor. With `biased`, matrices have biases.

    With `biased_choice`, experts are chosen with a bias; if `normalised`, the sum of their weights is 1.
    `shared` is the width of the experts that every token uses, `latent` has the widths of MLA.
    """

    embd: int
    heads: int
    q: int
    attention: int
    k: int
    v: int
    ffn: int
    expert: int
    n_expert: int
    n_used: int
    vocab: int
    biased: bool
    biased_choice: bool = False
    normalised: bool = True
    shared: int = 0
    latent: LatentAttention | None = None

    @property
    def attention_weights(self) -> int:
        """The number of weights in a layer's matrices of attention."""
        mla, out = self.latent, self.embd * self.attention
        if mla is None:
            return self.embd * (self.q + self.k + self.v) + out
        query = mla.q_rank * (self.embd + self.q) if mla.q_rank else self.embd * self.q
        latent = mla.kv_rank + mla.rope
        return query + self.embd * latent + self.heads * mla.kv_rank * (mla.nope + mla.value) + out

    @classmethod
    def of(cls, shape: ModelShape) -> "Widths":
        k = max(layer.k_width for layer in shape.kinds)
        v = max(layer.v_width for layer in shape.kinds)
        return cls(
            shape.n_embd, shape.n_heads, shape.q_width, shape.attention_width, k, v, shape.ffn_width,
            shape.expert_width, shape.n_expert, shape.n_expert_used, shape.n_vocab,
            shape.architecture == "gpt-oss", shape.biased_choice, shape.normalised, shape.shared_width,
            shape.latent,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reservation:
    """A graph to reserve buffers for. `output` is the backend of the output layer.

    `alignments` are bytes, one value per backend. If `rotation` is not 0, matrices of that many
    rows rotate queries and keys, and smaller ones values; with
    `pipelined`, several ubatches are in flight. Without `flash_attention`, all layers must be on the CPU.
    """

    widths: Widths
    layers: tuple[PlacedLayer, ...]
    output: int
    ubatch: Ubatch
    alignments: tuple[int, ...]
    rotation: int = 0
    pipelined: bool = False
    flash_attention: bool = True
