"""ggml's graph allocator, replayed: how large a buffer a graph needs on every backend.

llama.cpp reserves its compute buffers by walking the graph of one ubatch: a tensor gets the best fitting free
block, takes over a parent's block where the operation allows, and gives it back after its last use
(ggml/src/ggml-alloc.c). The scheduler first cuts the graph where it changes the backend, and copies what a
part needs from others to its beginning (ggml/src/ggml-backend.cpp). Walking the same graph the same way gives
the same bytes.
"""

from bisect import bisect_left
from collections.abc import Sequence

_ENDLESS = 1 << 62
_NOWHERE = -1  # the address of what has no block, yet or any longer
_PIPELINE_COPIES = 4  # GGML_SCHED_MAX_COPIES


class GraphNode:
    """A result, an input or a weight. `backend` is where it is computed; the last backend is the CPU.

    A view has no bytes of its own, and what is `resident` has its memory already: the cache, and weights.
    `readers` counts those that are still to come: nodes, and views that have some.
    """

    __slots__ = ("address", "backend", "inplace", "n_bytes", "readers", "sources", "view_of", "weight")

    def __init__(  # noqa: PLR0913 (what a tensor of ggml consists of)
        self,
        backend: int,
        n_bytes: int,
        sources: "tuple[GraphNode, ...]" = (),
        *,
        inplace: bool = False,
        view_of: "GraphNode | None" = None,
        resident: bool = False,
        weight: bool = False,
    ) -> None:
        self.backend = backend
        self.n_bytes = n_bytes
        self.sources = sources
        self.inplace = inplace
        self.view_of = view_of
        self.weight = weight
        self.address = _NOWHERE
        self.readers = 0
        if resident or weight:
            self.address = 0
            self.keep()

    def keep(self) -> None:
        """Have its block never given back, as if one reader were always to come."""
        self.readers += 1


def reserved_bytes(
    nodes: Sequence[GraphNode],
    inputs: Sequence[GraphNode],
    alignments: Sequence[int],
    *,
    pipelined: bool = False,
) -> tuple[int, ...]:
    """Bytes that each backend's compute buffer gets for the graph of `nodes`, in order of execution.

    Views are no nodes. `inputs` are the tensors that the caller fills, on the CPU. `alignments` has a value
    for each backend. With `pipelined`, several ubatches are under way at once, and each has its own copy of
    every input.
    """
    plan = _Scheduler(nodes, inputs, _PIPELINE_COPIES if pipelined else 1)
    heaps = [_Heap(alignment) for alignment in alignments]
    for tensor in plan.early:
        tensor.address = heaps[tensor.backend].take(tensor.n_bytes)
    for node in plan.scheduled:
        for source in node.sources:
            if not source.readers and source.view_of is not None:
                source.view_of.readers += 1
            source.readers += 1
    for node in plan.scheduled:
        if node.address == _NOWHERE and not (node.inplace and _take_over(node)):
            node.address = heaps[node.backend].take(node.n_bytes)
        for source in node.sources:
            source.readers -= 1
            if not source.readers:
                _release(source, heaps)
    return tuple(heap.peak for heap in heaps)


class _Heap:
    """The free blocks of one buffer, as (offset, size) by offset; the last one is endless."""

    def __init__(self, alignment: int) -> None:
        self._mask = alignment - 1
        self._offsets = [0]
        self._sizes = [_ENDLESS]
        self.peak = 0

    def take(self, n_bytes: int) -> int:
        """The offset of the best fitting block; of several that fit as well, of the last."""
        size = (n_bytes + self._mask) & ~self._mask
        best, best_size = 0, _ENDLESS
        for index, free in enumerate(self._sizes):
            if size <= free <= best_size:
                best, best_size = index, free
        offset = self._offsets[best]
        if size == best_size:
            del self._offsets[best], self._sizes[best]
        else:
            self._offsets[best] = end = offset + size
            self._sizes[best] = best_size - size
            self.peak = max(self.peak, end)
        return offset

    def give_back(self, offset: int, n_bytes: int) -> None:
        """Free a block and join it with its free neighbours."""
        size = (n_bytes + self._mask) & ~self._mask
        offsets, sizes = self._offsets, self._sizes
        at = bisect_left(offsets, offset)
        if offset + size == offsets[at]:
            offsets[at] = offset
            sizes[at] += size
        else:
            offsets.insert(at, offset)
            sizes.insert(at, size)
        if at and offsets[at - 1] + sizes[at - 1] == offset:
            sizes[at - 1] += sizes.pop(at)
            del offsets[at]


def _take_over(tensor: GraphNode) -> bool:
    """Reuse the block of a source of the same layout that nobody else will read; never through a view."""
    for source in tensor.sources:
        if source.readers == 1 and source.n_bytes == tensor.n_bytes and source.address != _NOWHERE:
            tensor.address, source.address = source.address, _NOWHERE
            return True
    return False


def _release(source: GraphNode, heaps: Sequence[_Heap]) -> None:
    """The last reader of `source` is done: free its block, or that of what it views."""
    owner = source
    if source.view_of is not None:
        owner = source.view_of
        owner.readers -= 1
    if not owner.readers and owner.address != _NOWHERE:
        heaps[owner.backend].give_back(owner.address, owner.n_bytes)
        owner.address = _NOWHERE


class _Scheduler:
    """Cuts the graph where it changes the backend, and adds copies of what a part needs from others.

    `scheduled` is the nodes in order with the copies; `early` what is allocated before them all.
    """

    def __init__(self, nodes: Sequence[GraphNode], inputs: Sequence[GraphNode], n_copies: int) -> None:
        self.scheduled: list[GraphNode] = []
        self._n_copies = n_copies
        self._part: list[GraphNode] = []
        self._moves: list[tuple[GraphNode, GraphNode]] = []
        self._copies: dict[tuple[GraphNode, int], GraphNode] = {}
        self.early = [each for tensor in inputs for each in self._one_each(tensor)]
        backend = -1
        for node in nodes:
            foreign = brings_weight = False
            for source in node.sources:
                if source.backend != node.backend:
                    foreign = True
                    brings_weight = brings_weight or source.weight
            if node.backend != backend or (brings_weight and self._moves):
                self._end_part()
                backend = node.backend
            if foreign:
                node.sources = tuple(self._on(backend, source) for source in node.sources)
            self._part.append(node)
        self._end_part()

    def _on(self, backend: int, source: GraphNode) -> GraphNode:
        """`source` or its copy on the backend of this part."""
        if source.backend == backend:
            return source
        copy = self._copies.get((source, backend))
        if copy is None:
            copy = self._copies[source, backend] = GraphNode(backend, source.n_bytes)
            self._moves.append((source, copy))
            if self._n_copies > 1:
                self.early += self._one_each(copy)
        return copy

    def _end_part(self) -> None:
        for original, copy in self._moves:
            until_copied = GraphNode(original.backend, 0, (original,), resident=True)
            self.scheduled += (until_copied, copy)
        self.scheduled += self._part
        self._moves, self._part = [], []

    def _one_each(self, tensor: GraphNode) -> list[GraphNode]:
        """One of `tensor` for each ubatch under way; with several of them, never given back."""
        if self._n_copies > 1:
            tensor.keep()
        return [tensor, *(GraphNode(tensor.backend, tensor.n_bytes) for _ in range(self._n_copies - 1))]
