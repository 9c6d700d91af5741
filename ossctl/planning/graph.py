"""The graph for which llama.cpp reserves its compute buffers, reduced to the sizes and lifetimes of tensors.

It follows the order of src/llama-graph.cpp, and of openai-moe.cpp and deepseek2.cpp in src/models; other
models' layers of attention and experts differ from these in small tensors only. Operations that overwrite
their own source, such as adding a bias, take no memory and are left out unless their operand is copied.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby

from ossctl.planning.allocator import GraphNode, reserved_bytes
from ossctl.planning.reservation import PlacedLayer, Reservation
from ossctl.planning.shape import KvType, LatentAttention, ModelShape

_FLOAT = 4  # activations are float32
_INDEX = 4  # token ids and expert ids are int32
_CELL_INDEX = 8  # indices of KV cells are int64
_MASK = 2  # the mask of flash attention is f16, that of plain attention float32
_ROTATION = 64  # least rows of the Hadamard matrices that rotate heads before the KV cache is quantised
# After this many layers in a row the allocator's state repeats, as found by comparison with complete graphs;
# it takes more layers if their dense weights are copied.
_FEW, _FEW_COPIED = 2, 4


def compute_bytes(reservation: Reservation) -> tuple[int, ...]:
    """Bytes of the compute buffer of each backend."""
    return _compute_bytes(replace(reservation, layers=tuple(_shortened(reservation.layers))))


@lru_cache(maxsize=1024)
def _compute_bytes(reservation: Reservation) -> tuple[int, ...]:
    graph = _Graph(reservation)
    graph.build(reservation.layers, reservation.output)
    return reserved_bytes(graph.nodes, graph.inputs, reservation.alignments, pipelined=reservation.pipelined)


def rotation_size(kv_type: KvType, shape: ModelShape) -> int:
    """Rows of the matrix that rotates queries and keys because of a quantised KV cache; 0 if none does."""
    size = _ROTATION
    if kv_type is KvType.F16 or shape.latent or not shape.head_dim or shape.head_dim % size:
        return 0
    while shape.head_dim % (2 * size) == 0:
        size *= 2
    return size


def _shortened(layers: Sequence[PlacedLayer]) -> Iterator[PlacedLayer]:
    """`layers` with long runs of equal placement shortened by multiples of the windows' period.

    Sizes of copied matrices may differ from layer to layer; the largest count.
    """

    def kind(layer: PlacedLayer) -> tuple[int, int, bool, bool, bool]:
        copied = bool(layer.expert_matrices), layer.dense_bytes > 0
        return layer.device, layer.experts, layer.has_experts, *copied

    for (*_, copied), run in groupby(layers, key=kind):
        same = [*_with_largest_matrices(list(run))]
        period = _period([layer.windowed for layer in same])
        few = max(_FEW_COPIED if copied else _FEW, period)
        n_removed = (len(same) - 2 * few) // period * period
        yield from same[:few] + same[few + n_removed :] if n_removed > 0 else same


def _period(windowed: Sequence[bool]) -> int:
    """After how many layers, an even number, the pattern of windows repeats."""
    periods = range(2, len(windowed) + 2, 2)
    return next(n for n in periods if all(a == b for a, b in zip(windowed, windowed[n:], strict=False)))


def _with_largest_matrices(layers: Sequence[PlacedLayer]) -> Iterator[PlacedLayer]:
    each = {layer.expert_matrices for layer in layers}
    largest = tuple(map(max, zip(*each, strict=False)))
    yield from (replace(layer, expert_matrices=largest) for layer in layers)


class _Graph:
    """Builds `nodes` and `inputs` for the allocator."""

    def __init__(self, reservation: Reservation) -> None:
        ubatch, widths = reservation.ubatch, reservation.widths
        self._w = widths
        self._n = ubatch.n_tokens
        self._ubatch = ubatch
        self._cpu = len(reservation.alignments) - 1
        rotation = reservation.rotation
        self._flash = flash = reservation.flash_attention
        self.nodes: list[GraphNode] = []
        self.inputs: list[GraphNode] = []
        self._tokens = self._input(self._n * _INDEX)
        self._input(self._n * widths.embd * _FLOAT)  # input embeddings; never used
        self._positions = self._input(self._n * _INDEX)
        n_values = self._n * (1 if flash else widths.v)  # a transposed V cache needs an index per value
        self._masks: dict[bool, GraphNode] = {}
        self._cell_indices: dict[bool, tuple[GraphNode, GraphNode]] = {}
        self._rotations: dict[bool, list[GraphNode]] = {}  # of keys and of values
        for windowed, size in ((True, ubatch.window_mask), (False, ubatch.mask)):
            if size:
                rows = (rotation, _ROTATION) if rotation else ()
                self._rotations[windowed] = [self._input(n * n * _FLOAT) for n in rows]
                self._cell_indices[windowed] = (
                    self._input(self._n * _CELL_INDEX), self._input(n_values * _CELL_INDEX),
                )  # fmt: skip
                self._masks[windowed] = self._input(size * (_MASK if flash else _FLOAT))
        self._out_ids = self._input(ubatch.n_outputs * _INDEX)

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
        if w.latent:
            attended = self._latent_attention(normed, layer, w.latent)
            return self._product(layer, w.embd, attended, w.attention)
        q = self._rotate(self._rope(self._product(layer, w.q, normed)), layer, 0)
        if len(self._masks) > 1:  # with two caches, llama.cpp computes keys first
            k, v = self._keys(normed, layer), self._values(normed, layer)
        else:
            v, k = self._values(normed, layer), self._keys(normed, layer)
        windowed = self._cache_of(layer)
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
        return self._product(layer, w.embd, self._rotate(self._view(attended), layer, 1), w.attention)

    def _keys(self, normed: GraphNode, layer: PlacedLayer) -> GraphNode:
        return self._rotate(self._rope(self._product(layer, self._w.k, normed)), layer, 0)

    def _values(self, normed: GraphNode, layer: PlacedLayer) -> GraphNode:
        return self._rotate(self._view(self._product(layer, self._w.v, normed)), layer, 1)

    def _latent_attention(self, normed: GraphNode, layer: PlacedLayer, mla: LatentAttention) -> GraphNode:
        """The heads' results of MLA, computed on its compressed vector as the only key and value."""
        device, heads = layer.device, self._w.heads
        cached = mla.kv_rank + mla.rope
        if mla.q_rank:
            compressed = self._product(layer, mla.q_rank, normed)
            compressed = self._op(device, mla.q_rank, compressed, inplace=True)
            compressed = self._times_weights(compressed, device, self._vector(layer, mla.q_rank))
            q = self._product(layer, self._w.q, compressed, mla.q_rank)
        else:
            q = self._product(layer, self._w.q, normed)
        k_b = self._matrix(layer, heads * mla.kv_rank * mla.nope)
        absorbed = self._op(device, heads * mla.kv_rank, *k_b, self._view(q))
        rotated = self._op(device, heads * mla.rope, self._view(q), self._positions)
        query = self._op(device, heads * cached, self._view(absorbed), rotated)
        both = self._product(layer, cached, normed)
        latent = self._op(device, mla.kv_rank, self._view(both))
        latent = self._times_weights(latent, device, self._vector(layer, mla.kv_rank))
        key = self._op(
            device, cached, self._view(latent), self._op(device, mla.rope, self._view(both), self._positions)
        )
        cache = [GraphNode(self._cpu, layer.cache_bytes, resident=True)] if layer.cache_bytes else []
        self._store(self._cpu if cache else device, self._view(key), self._cell_indices[False][0])
        attended_bytes = self._n * heads * mla.kv_rank * _FLOAT
        if self._flash:
            attended_bytes += layer.extra_bytes
            attended = self._node(device, attended_bytes, self._view(query), *cache, self._masks[False])
        else:
            scores = self._scores(device, query, self._masks[False])
            values = self._node(device, layer.extra_bytes)
            attended = self._node(device, attended_bytes, values, scores)
        v_b = self._matrix(layer, heads * mla.kv_rank * mla.value)
        by_head = self._op(device, self._w.attention, *v_b, self._view(attended))
        return self._op(device, self._w.attention, self._view(by_head))

    def _plain_attention(self, device: int, q: GraphNode, mask: GraphNode) -> GraphNode:
        by_head = self._op(device, self._w.attention, self._scores(device, q, mask))
        return self._op(device, self._w.attention, self._view(by_head))  # all heads of a token contiguous

    def _scores(self, device: int, q: GraphNode, mask: GraphNode) -> GraphNode:
        n_bytes = self._w.heads * mask.n_bytes
        scores = self._node(device, n_bytes, self._view(q))
        return self._node(device, n_bytes, scores, mask, inplace=True)

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
        total = w.attention_weights + 3 * w.embd * (w.shared if layer.has_experts else w.ffn)
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

    def _rotate(self, values: GraphNode, layer: PlacedLayer, which: int) -> GraphNode:
        matrices = self._rotations[self._cache_of(layer)]
        if not matrices:
            return values
        shaped = self._view(values)
        return self._view(self._node(shaped.backend, shaped.n_bytes, matrices[which], shaped))

    def _cache_of(self, layer: PlacedLayer) -> bool:
        """Whether the layer's cache is the one with a window."""
        return layer.windowed if layer.windowed in self._masks else not layer.windowed

    def _dense(self, normed: GraphNode, layer: PlacedLayer, width: int = 0) -> GraphNode:
        width = width or self._w.ffn
        gate, up = self._product(layer, width, normed), self._product(layer, width, normed)
        active = self._op(layer.device, width, gate, up)
        return self._product(layer, self._w.embd, active, width)

    def _experts(self, normed: GraphNode, layer: PlacedLayer, backend: int) -> GraphNode:
        """The weighted sum of the experts' results, plus that of the shared ones, computed on `backend`."""
        w = self._w
        ids, weights = self._route(normed, layer)
        active = self._activated(self._view(normed), layer, ids)
        down = self._expert_product(layer, -1, w.embd, active, ids)
        weighted = self._op(backend, w.n_used * w.embd, down, weights, inplace=True)
        view_bytes = ((self._n - 1) * w.n_used + 1) * w.embd * _FLOAT
        total, *others = [self._view(weighted, view_bytes) for _ in range(w.n_used)]
        for other in others:
            total = self._op(backend, w.embd, total, other, inplace=True)
        if not w.shared:
            return total
        return self._op(backend, w.embd, total, self._dense(normed, layer, w.shared), inplace=True)

    def _activated(self, hidden: GraphNode, layer: PlacedLayer, ids: GraphNode) -> GraphNode:
        """The product of the experts' gates and ups."""
        w = self._w
        if layer.fused_experts:
            both = self._expert_product(layer, 0, 2 * w.expert, hidden, ids)
            sources = [self._view(both), self._view(both)]
        else:
            sources = [self._expert_product(layer, n, w.expert, hidden, ids) for n in (0, 1)]
        return self._op(layer.experts, w.n_used * w.expert, *sources)

    def _route(self, normed: GraphNode, layer: PlacedLayer) -> tuple[GraphNode, GraphNode]:
        """The chosen experts and their weights."""
        w, device = self._w, layer.device
        router = self._vector(layer, w.n_expert * w.embd)  # float32
        logits = self._op(device, w.n_expert, *router, normed)
        if router and w.biased:
            logits = self._op(device, w.n_expert, logits, *self._vector(layer, w.n_expert), inplace=True)
        score = self._op(device, w.n_expert, logits) if w.biased_choice else logits
        sorted_ids = self._op(device, w.n_expert, score)
        ids = self._view(sorted_ids, ((self._n - 1) * w.n_expert + w.n_used) * _INDEX)
        weights = self._view(self._op(device, w.n_used, self._view(logits), ids))
        if w.biased:  # softmax over the chosen ones
            weights = self._view(self._op(device, w.n_used, weights))
        elif w.normalised:
            weights = self._view(self._op(device, w.n_used, weights, self._op(device, 1, weights)))
        return ids, weights

    def _weightless_backend(self, layer: PlacedLayer, following: int) -> int:
        """The backend of operations without weights at the end of a layer: after the CPU, the next one."""
        last = layer.experts if layer.has_experts else layer.device
        return following if last == self._cpu else last

    def _expert_product(
        self, layer: PlacedLayer, matrix: int, width: int, values: GraphNode, ids: GraphNode
    ) -> GraphNode:
        """`values` times a matrix of all experts, with its index among those that are copied to the GPU."""
        product = self._w.n_used * width
        if not layer.expert_matrices:
            return self._op(layer.experts, product, values, ids)
        weights = GraphNode(self._cpu, layer.expert_matrices[matrix], weight=True)
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
