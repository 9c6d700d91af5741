"""The graph that llama.cpp reserves its compute buffers for, as far as bytes and lifetimes go.

It follows the order of src/llama-graph.cpp and src/models/openai-moe.cpp. What writes over its own source
(biases, norms' weights) takes no memory and is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from ossctl.planning.allocator import GraphNode, reserved_bytes
from ossctl.planning.shape import KvType, ModelShape

_FLOAT = 4  # activations are float32
_INDEX = 4  # token ids and expert ids are int32
_CELL_INDEX = 8  # places in the cache are int64
_MASK = 2  # flash attention takes its mask as f16, plain attention as float32
_ROTATION = 64  # llama.cpp rotates heads by Hadamard matrices of this size before it quantises them
# Layers in a row after which the allocator's state repeats, found by comparing with whole models; it takes
# longer where their weights are copied as well.
_FEW, _FEW_COPIED = 2, 4


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """Where a layer and its experts are computed, as numbers of backends; the last one is the CPU.

    What is computed on a GPU but kept in RAM is copied there for every ubatch: `expert_bytes` and
    `dense_bytes` of weights, `cache_bytes` of keys and values. `extra_bytes` is what a GPU's attention takes
    besides its result.
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
    """Sizes of one reserved ubatch: tokens, rows of logits, and tokens by cells of the attention masks."""

    n_tokens: int
    n_outputs: int
    mask: int
    window_mask: int


@dataclass(frozen=True, slots=True)
class Widths:
    """Values of one token in each kind of tensor. `biased` experts add a bias."""

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
    """A graph to reserve buffers for. `output` is the backend of the head, `alignments` has all backends.

    With `rotated`, queries, keys and values are rotated; with `pipelined`, several ubatches are under way.
    Without `flash_attention` everything has to be on the CPU.
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
    """Bytes of the compute buffer on each backend."""
    return _reserved(replace(reservation, layers=tuple(_without_repetition(reservation.layers))))


@lru_cache(maxsize=1024)
def _reserved(reservation: Reservation) -> tuple[int, ...]:
    graph = _Graph(reservation)
    graph.build(reservation.layers, reservation.output)
    return reserved_bytes(graph.nodes, graph.inputs, reservation.alignments, pipelined=reservation.pipelined)


def needs_rotation(kv_type: KvType, shape: ModelShape) -> bool:
    """Whether llama.cpp rotates queries, keys and values (a quantised cache, heads of whole blocks)."""
    return kv_type is not KvType.F16 and shape.head_dim > 0 and shape.head_dim % _ROTATION == 0


def _without_repetition(layers: Sequence[PlacedLayer]) -> Iterator[PlacedLayer]:
    """The layers with long runs of the same placement cut short, an even number at a time.

    Every other layer may have a window, so the first and the last of a run keep their parity.
    """

    def kind(layer: PlacedLayer) -> tuple[int, int, bool, bool]:
        return layer.device, layer.experts, layer.expert_bytes > 0, layer.dense_bytes > 0

    for (*_, copied), run in groupby(layers, key=kind):
        same, few = list(run), _FEW_COPIED if copied else _FEW
        cut = len(same) - len(same) % 2
        long = len(same) > 2 * few
        yield from same[:few] + same[max(few, cut - few + len(same) % 2) :] if long else same


class _Graph:
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
        self._input(self._n * widths.embd * _FLOAT)  # embeddings may come from outside; never used
        self._positions = self._input(self._n * _INDEX)
        self._out_ids = self._input(ubatch.n_outputs * _INDEX)
        self._masks = {
            windowed: self._input(size * (_MASK if flash else _FLOAT))
            for windowed, size in ((True, ubatch.window_mask), (False, ubatch.mask))
            if size
        }
        n_values = self._n * (1 if flash else widths.v)  # transposed values are stored one by one
        self._places = {
            windowed: (self._input(self._n * _CELL_INDEX), self._input(n_values * _CELL_INDEX))
            for windowed in self._masks
        }
        self._rotations = [self._input(_ROTATION * _ROTATION * _FLOAT) for _ in range(2 if rotated else 0)]

    def build(self, layers: Sequence[PlacedLayer], output: int) -> None:
        """Append the nodes of all layers and the head."""
        hidden = self._op(self._cpu, self._w.embd, self._tokens)
        for number, layer in enumerate(layers):
            after = layers[number + 1].device if number + 1 < len(layers) else output
            hidden = self._layer(hidden, layer, after)
        rows, here = self._ubatch.n_outputs, self._still_on(hidden, output)
        chosen = self._node(here, rows * self._w.embd * _FLOAT, hidden, self._out_ids)
        normed = self._scaled(self._node(here, chosen.n_bytes, chosen, inplace=True), output)
        self._node(output, rows * self._w.vocab * _FLOAT, normed).keep()

    def _layer(self, hidden: GraphNode, layer: PlacedLayer, after: int) -> GraphNode:
        attended = self._attention(hidden, layer)
        residual = self._op(layer.device, self._w.embd, attended, hidden, inplace=True)
        bare = self._op(layer.device, self._w.embd, residual, inplace=True)
        normed = self._scaled(bare, layer.device, self._vector(layer, self._w.embd))
        if not layer.has_experts:
            mixed = self._dense(normed, layer)
            return self._op(self._behind(layer, after), self._w.embd, mixed, residual, inplace=True)
        mixed = self._experts(normed, layer, after)
        return self._op(mixed.backend, self._w.embd, mixed, residual, inplace=True)

    def _attention(self, hidden: GraphNode, layer: PlacedLayer) -> GraphNode:
        device, w = layer.device, self._w
        before = self._op(self._still_on(hidden, device), w.embd, hidden, inplace=True)
        normed = self._scaled(before, device, self._vector(layer, w.embd))
        q = self._rotate(self._rope(self._product(layer, w.q, normed)), 0)
        k = self._rotate(self._rope(self._product(layer, w.k, normed)), 0)
        v = self._rotate(self._view(self._product(layer, w.v, normed)), 1)
        windowed = layer.windowed if layer.windowed in self._masks else not layer.windowed
        in_ram = layer.cache_bytes // 2
        cache = [GraphNode(self._cpu, in_ram, resident=True) for _ in range(2 if in_ram else 0)]
        for values, place in zip((k, v), self._places[windowed], strict=True):
            self._store(self._cpu if cache else device, self._view(values), place)
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
        return self._op(device, self._w.attention, self._view(by_head))

    def _product(self, layer: PlacedLayer, width: int, values: GraphNode, values_width: int = 0) -> GraphNode:
        """`values` times one of the layer's dense matrices, plus its bias if there is one."""
        n_weights = width * (values_width or self._w.embd)
        result = self._op(layer.device, width, *self._matrix(layer, n_weights), values)
        bias = self._vector(layer, width) if self._w.biased else []
        return self._op(layer.device, width, result, *bias, inplace=True) if bias else result

    def _matrix(self, layer: PlacedLayer, n_weights: int) -> list[GraphNode]:
        """A matrix with its share of the layer's dense weights, if those are copied to the GPU."""
        if not layer.dense_bytes:
            return []
        w = self._w
        total = w.embd * (w.q + w.k + w.v + w.attention) + (0 if layer.has_experts else 3 * w.embd * w.ffn)
        return [GraphNode(self._cpu, layer.dense_bytes * n_weights // total, weight=True)]

    def _vector(self, layer: PlacedLayer, width: int) -> list[GraphNode]:
        return [GraphNode(self._cpu, width * _FLOAT, weight=True)] if layer.dense_bytes else []

    def _still_on(self, hidden: GraphNode, device: int) -> int:
        """Where a norm runs: it needs no weights, so a GPU does not hand over before it."""
        return device if hidden.backend == self._cpu else hidden.backend

    def _scaled(self, normed: GraphNode, device: int, weights: Sequence[GraphNode] = ()) -> GraphNode:
        """A norm times its weights, which are on `device` or copied there."""
        return self._node(device, normed.n_bytes, normed, *weights, inplace=True)

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

    def _experts(self, normed: GraphNode, layer: PlacedLayer, after: int) -> GraphNode:
        w, device, at = self._w, layer.device, layer.experts
        router = self._vector(layer, w.n_expert * w.embd)  # float32
        logits = self._op(device, w.n_expert, *router, normed)
        if router and w.biased:
            logits = self._op(device, w.n_expert, logits, *self._vector(layer, w.n_expert), inplace=True)
        order = self._op(device, w.n_expert, logits)
        chosen_bytes = ((self._n - 1) * w.n_expert + w.n_used) * _INDEX
        chosen = self._view(order, chosen_bytes)
        gathered = self._op(device, w.n_used, self._view(logits), chosen)
        weights = self._view(self._op(device, w.n_used, self._view(gathered)))
        inside = self._view(normed)
        gate = self._by_expert(layer, w.expert, inside, chosen)
        up = self._by_expert(layer, w.expert, inside, chosen)
        active = self._op(at, w.n_used * w.expert, gate, up)
        down = self._by_expert(layer, w.embd, active, chosen)
        back = self._behind(layer, after)
        weighted = self._op(back, w.n_used * w.embd, down, weights, inplace=True)
        span = ((self._n - 1) * w.n_used + 1) * w.embd * _FLOAT
        mixed, *others = [self._view(weighted, span) for _ in range(w.n_used)]
        for other in others:
            mixed = self._op(back, w.embd, mixed, other, inplace=True)
        return mixed

    def _behind(self, layer: PlacedLayer, after: int) -> int:
        """Where what needs no weights runs: after the CPU, ahead on the device that comes next."""
        last = layer.experts if layer.has_experts else layer.device
        return after if last == self._cpu else last

    def _by_expert(self, layer: PlacedLayer, width: int, inside: GraphNode, chosen: GraphNode) -> GraphNode:
        product = self._w.n_used * width
        if not layer.expert_bytes:
            return self._op(layer.experts, product, inside, chosen)
        weights = GraphNode(self._cpu, layer.expert_bytes // 3, weight=True)
        result = self._op(layer.experts, product, weights, inside, chosen)
        if not self._w.biased:
            return result
        bias = GraphNode(self._cpu, self._w.n_expert * width * _FLOAT, weight=True)
        return self._op(layer.experts, product, result, bias, chosen, inplace=True)

    def _input(self, n_bytes: int) -> GraphNode:
        tensor = GraphNode(self._cpu, n_bytes)
        self.inputs.append(tensor)
        return tensor

    def _view(self, source: GraphNode, n_bytes: int = 0) -> GraphNode:
        return GraphNode(source.backend, n_bytes or source.n_bytes, view_of=source.view_of or source)

    def _store(self, backend: int, values: GraphNode, place: GraphNode) -> None:
        """Into the cache, which has memory of its own."""
        self._added(GraphNode(backend, 0, (values, place), resident=True))

    def _op(self, backend: int, width: int, *sources: GraphNode, inplace: bool = False) -> GraphNode:
        return self._added(GraphNode(backend, self._n * width * _FLOAT, sources, inplace=inplace))

    def _node(self, backend: int, n_bytes: int, *sources: GraphNode, inplace: bool = False) -> GraphNode:
        return self._added(GraphNode(backend, n_bytes, sources, inplace=inplace))

    def _added(self, node: GraphNode) -> GraphNode:
        self.nodes.append(node)
        return node
