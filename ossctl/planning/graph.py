"""The graph for which llama.cpp reserves its compute buffers, reduced to the sizes and lifetimes of tensors.

It follows the order of src/llama-graph.cpp and src/models/openai-moe.cpp. Operations that overwrite their own
source, such as adding a bias, take no memory and are left out unless their operand is copied.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from ossctl.planning.allocator import GraphNode, reserved_bytes
from ossctl.planning.shape import KvType, ModelShape

_FLOAT = 4  # activations are float32
_INDEX = 4  # token ids and expert ids are int32
_CELL_INDEX = 8  # indices of KV cells are int64
_MASK = 2  # the mask of flash attention is f16, that of plain attention float32
_ROTATION = 64  # size of the Hadamard matrices that rotate heads before the KV cache is quantised
# After this many layers in a row the allocator's state repeats, as found by comparison with complete graphs;
# it takes more layers if their dense weights are copied.
_FEW, _FEW_COPIED = 2, 4


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """The backends that compute a layer and its experts; the last backend is the CPU.

    `expert_bytes`, `dense_bytes` and `cache_bytes` (keys and values) are in RAM and copied to the GPU for
    every ubatch. `extra_bytes` is the workspace of a GPU's attention beside its result.
    """

    device: int
    experts: int
    windowed: bool
    has_experts: bool
    expert_bytes: int = 0
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
    """Values per token of each kind of tensor. With `biased`, matrices have biases."""

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

    @classmethod
    def of(cls, shape: ModelShape) -> "Widths":
        k = max(layer.k_width for layer in shape.kinds)
        v = max(layer.v_width for layer in shape.kinds)
        return cls(
            shape.n_embd, shape.n_heads, shape.q_width, shape.attention_width, k, v, shape.ffn_width,
            shape.expert_width, shape.n_expert, shape.n_expert_used, shape.n_vocab,
            shape.architecture == "gpt-oss",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reservation:
    """A graph to reserve buffers for. `output` is the backend of the output layer.

    `alignments` are bytes, one value per backend. With `rotated`, queries, keys and values are rotated; with
    `pipelined`, several ubatches are in flight. Without `flash_attention`, all layers must be on the CPU.
    """

    widths: Widths
    layers: tuple[PlacedLayer, ...]
    output: int
    ubatch: Ubatch
    alignments: tuple[int, ...]
    rotated: bool = False
    pipelined: bool = False
    flash_attention: bool = True


def compute_bytes(reservation: Reservation) -> tuple[int, ...]:
    """Bytes of the compute buffer of each backend."""
    return _compute_bytes(replace(reservation, layers=tuple(_shortened(reservation.layers))))


@lru_cache(maxsize=1024)
def _compute_bytes(reservation: Reservation) -> tuple[int, ...]:
    graph = _Graph(reservation)
    graph.build(reservation.layers, reservation.output)
    return reserved_bytes(graph.nodes, graph.inputs, reservation.alignments, pipelined=reservation.pipelined)


def needs_rotation(kv_type: KvType, shape: ModelShape) -> bool:
    """Whether llama.cpp rotates queries, keys and values, because of a quantised KV cache."""
    return kv_type is not KvType.F16 and shape.head_dim > 0 and shape.head_dim % _ROTATION == 0


def _shortened(layers: Sequence[PlacedLayer]) -> Iterator[PlacedLayer]:
    """`layers` with long runs of equal placement shortened by an even number.

    An even number keeps the parity of the first and last layers, because every other layer may have a window.
    """

    def kind(layer: PlacedLayer) -> tuple[int, int, bool, bool]:
        return layer.device, layer.experts, layer.expert_bytes > 0, layer.dense_bytes > 0

    for (*_, copied), run in groupby(layers, key=kind):
        same, few = list(run), _FEW_COPIED if copied else _FEW
        even = len(same) - len(same) % 2
        long = len(same) > 2 * few
        yield from same[:few] + same[max(few, even - few + len(same) % 2) :] if long else same


class _Graph:
    """Builds `nodes` and `inputs` for the allocator."""

    def __init__(self, reservation: Reservation) -> None:
        ubatch, widths = reservation.ubatch, reservation.widths
        self._w = widths
        self._n = ubatch.n_tokens
        self._ubatch = ubatch
        self._cpu = len(reservation.alignments) - 1
        self._rotated = rotated = reservation.rotated
        self._flash = flash = reservation.flash_attention
        self.nodes: list[GraphNode] = []
        self.inputs: list[GraphNode] = []
        self._tokens = self._input(self._n * _INDEX)
        self._input(self._n * widths.embd * _FLOAT)  # input embeddings; never used
        self._positions = self._input(self._n * _INDEX)
        self._out_ids = self._input(ubatch.n_outputs * _INDEX)
        self._masks = {
            windowed: self._input(size * (_MASK if flash else _FLOAT))
            for windowed, size in ((True, ubatch.window_mask), (False, ubatch.mask))
            if size
        }
        n_values = self._n * (1 if flash else widths.v)  # a transposed V cache needs an index per value
        self._cell_indices = {
            windowed: (self._input(self._n * _CELL_INDEX), self._input(n_values * _CELL_INDEX))
            for windowed in self._masks
        }
        self._rotations = [self._input(_ROTATION * _ROTATION * _FLOAT) for _ in range(2 if rotated else 0)]

    def build(self, layers: Sequence[PlacedLayer], output: int) -> None:
        """Append the nodes of all layers and of the output layer on the backend `output`."""
        hidden = self._op(self._cpu, self._w.embd, self._tokens)
        for number, layer in enumerate(layers):
            following = layers[number + 1].device if number + 1 < len(layers) else output
            hidden = self._layer(hidden, layer, following)
        rows, backend = self._ubatch.n_outputs, self._norm_backend(hidden, output)
        selected = self._node(backend, rows * self._w.embd * _FLOAT, hidden, self._out_ids)
        norm = self._node(backend, selected.n_bytes, selected, inplace=True)
        self._node(output, rows * self._w.vocab * _FLOAT, self._times_weights(norm, output)).keep()

    def _layer(self, hidden: GraphNode, layer: PlacedLayer, following: int) -> GraphNode:
        """`following` is the backend of the next layer."""
        attended = self._attention(hidden, layer)
        residual = self._op(layer.device, self._w.embd, attended, hidden, inplace=True)
        norm = self._op(layer.device, self._w.embd, residual, inplace=True)
        normed = self._times_weights(norm, layer.device, self._vector(layer, self._w.embd))
        backend = self._weightless_backend(layer, following)
        ffn = self._experts(normed, layer, backend) if layer.has_experts else self._dense(normed, layer)
        return self._op(backend, self._w.embd, ffn, residual, inplace=True)

    def _attention(self, hidden: GraphNode, layer: PlacedLayer) -> GraphNode:
        device, w = layer.device, self._w
        norm = self._op(self._norm_backend(hidden, device), w.embd, hidden, inplace=True)
        normed = self._times_weights(norm, device, self._vector(layer, w.embd))
        q = self._rotate(self._rope(self._product(layer, w.q, normed)), 0)
        k = self._rotate(self._rope(self._product(layer, w.k, normed)), 0)
        v = self._rotate(self._view(self._product(layer, w.v, normed)), 1)
        windowed = layer.windowed if layer.windowed in self._masks else not layer.windowed
        in_ram = layer.cache_bytes // 2
        cache = [GraphNode(self._cpu, in_ram, resident=True) for _ in range(2 if in_ram else 0)]
        for values, indices in zip((k, v), self._cell_indices[windowed], strict=True):
            self._store(self._cpu if cache else device, self._view(values), indices)
        mask = self._masks[windowed]
        if self._flash:
            attended_bytes = self._n * w.attention * _FLOAT + layer.extra_bytes
            attended = self._node(device, attended_bytes, self._view(q), *cache, mask)
        else:
            attended = self._plain_attention(device, q, mask)
        return self._product(layer, w.embd, self._rotate(self._view(attended), 1), w.attention)

    def _plain_attention(self, device: int, q: GraphNode, mask: GraphNode) -> GraphNode:
        n_bytes = self._w.heads * mask.n_bytes
        scores = self._node(device, n_bytes, self._view(q))
        scores = self._node(device, n_bytes, scores, mask, inplace=True)
        by_head = self._op(device, self._w.attention, scores)
        return self._op(device, self._w.attention, self._view(by_head))  # all heads of a token contiguous

    def _product(self, layer: PlacedLayer, width: int, values: GraphNode, values_width: int = 0) -> GraphNode:
        """`values` times a dense matrix of the layer, plus its bias if that is copied."""
        n_weights = width * (values_width or self._w.embd)
        result = self._op(layer.device, width, *self._matrix(layer, n_weights), values)
        bias = self._vector(layer, width) if self._w.biased else []
        return self._op(layer.device, width, result, *bias, inplace=True) if bias else result

    def _matrix(self, layer: PlacedLayer, n_weights: int) -> list[GraphNode]:
        """A dense matrix, estimated as a share of the layer's weights, if those are copied to the GPU."""
        if not layer.dense_bytes:
            return []
        w = self._w
        total = w.embd * (w.q + w.k + w.v + w.attention) + (0 if layer.has_experts else 3 * w.embd * w.ffn)
        return [GraphNode(self._cpu, layer.dense_bytes * n_weights // total, weight=True)]

    def _vector(self, layer: PlacedLayer, width: int) -> list[GraphNode]:
        return [GraphNode(self._cpu, width * _FLOAT, weight=True)] if layer.dense_bytes else []

    def _norm_backend(self, hidden: GraphNode, device: int) -> int:
        """The backend of a norm before a layer on `device`: it has no weights, so it stays on a GPU."""
        return device if hidden.backend == self._cpu else hidden.backend

    def _times_weights(self, norm: GraphNode, device: int, weights: Sequence[GraphNode] = ()) -> GraphNode:
        """A norm times its weights, which are on `device` or copied there."""
        return self._node(device, norm.n_bytes, norm, *weights, inplace=True)

    def _rope(self, projected: GraphNode) -> GraphNode:
        shaped = self._view(projected)
        return self._node(projected.backend, projected.n_bytes, shaped, self._positions)

    def _rotate(self, values: GraphNode, which: int) -> GraphNode:
        if not self._rotated:
            return values
        shaped = self._view(values)
        return self._view(self._node(shaped.backend, shaped.n_bytes, self._rotations[which], shaped))

    def _dense(self, normed: GraphNode, layer: PlacedLayer) -> GraphNode:
        gate, up = self._product(layer, self._w.ffn, normed), self._product(layer, self._w.ffn, normed)
        active = self._op(layer.device, self._w.ffn, gate, up)
        return self._product(layer, self._w.embd, active, self._w.ffn)

    def _experts(self, normed: GraphNode, layer: PlacedLayer, backend: int) -> GraphNode:
        """The weighted sum of the experts' results, computed on `backend`."""
        w, device = self._w, layer.device
        router = self._vector(layer, w.n_expert * w.embd)  # float32
        logits = self._op(device, w.n_expert, *router, normed)
        if router and w.biased:
            logits = self._op(device, w.n_expert, logits, *self._vector(layer, w.n_expert), inplace=True)
        sorted_ids = self._op(device, w.n_expert, logits)
        ids = self._view(sorted_ids, ((self._n - 1) * w.n_expert + w.n_used) * _INDEX)
        gathered = self._op(device, w.n_used, self._view(logits), ids)
        weights = self._view(self._op(device, w.n_used, self._view(gathered)))
        hidden = self._view(normed)
        gate = self._expert_product(layer, w.expert, hidden, ids)
        up = self._expert_product(layer, w.expert, hidden, ids)
        active = self._op(layer.experts, w.n_used * w.expert, gate, up)
        down = self._expert_product(layer, w.embd, active, ids)
        weighted = self._op(backend, w.n_used * w.embd, down, weights, inplace=True)
        view_bytes = ((self._n - 1) * w.n_used + 1) * w.embd * _FLOAT
        total, *others = [self._view(weighted, view_bytes) for _ in range(w.n_used)]
        for other in others:
            total = self._op(backend, w.embd, total, other, inplace=True)
        return total

    def _weightless_backend(self, layer: PlacedLayer, following: int) -> int:
        """The backend of operations without weights at the end of a layer: after the CPU, the next one."""
        last = layer.experts if layer.has_experts else layer.device
        return following if last == self._cpu else last

    def _expert_product(self, layer: PlacedLayer, width: int, values: GraphNode, ids: GraphNode) -> GraphNode:
        product = self._w.n_used * width
        if not layer.expert_bytes:
            return self._op(layer.experts, product, values, ids)
        weights = GraphNode(self._cpu, layer.expert_bytes // 3, weight=True)
        result = self._op(layer.experts, product, weights, values, ids)
        if not self._w.biased:
            return result
        bias = GraphNode(self._cpu, self._w.n_expert * width * _FLOAT, weight=True)
        return self._op(layer.experts, product, result, bias, ids, inplace=True)

    def _input(self, n_bytes: int) -> GraphNode:
        tensor = GraphNode(self._cpu, n_bytes)
        self.inputs.append(tensor)
        return tensor

    def _view(self, source: GraphNode, n_bytes: int = 0) -> GraphNode:
        return GraphNode(source.backend, n_bytes or source.n_bytes, view_of=source.view_of or source)

    def _store(self, backend: int, values: GraphNode, indices: GraphNode) -> None:
        """Write to the KV cache, allocated elsewhere."""
        self._append(GraphNode(backend, 0, (values, indices), resident=True))

    def _op(self, backend: int, width: int, *sources: GraphNode, inplace: bool = False) -> GraphNode:
        return self._append(GraphNode(backend, self._n * width * _FLOAT, sources, inplace=inplace))

    def _node(self, backend: int, n_bytes: int, *sources: GraphNode, inplace: bool = False) -> GraphNode:
        return self._append(GraphNode(backend, n_bytes, sources, inplace=inplace))

    def _append(self, node: GraphNode) -> GraphNode:
        self.nodes.append(node)
        return node
