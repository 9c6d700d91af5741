"""A replay of ggml's graph allocator: the size of the compute buffer that a graph needs on each backend.

llama.cpp reserves its compute buffers by walking the graph of one ubatch. A tensor gets the best fitting free
block, or reuses a parent's block if it can be computed in place, and frees it after its last use
(ggml/src/ggml-alloc.c). Before that, the scheduler splits the graph wherever the backend changes, and copies
the inputs of a split to its backend (ggml/src/ggml-backend.cpp). The same walk here gives the same number of
bytes.
"""

from bisect import bisect_left
from collections.abc import Sequence

_UNBOUNDED = 1 << 62
_UNALLOCATED = -1  # the address of a tensor before its allocation and after its release
_PIPELINE_COPIES = 4  # GGML_SCHED_MAX_COPIES


class GraphNode:
    """A tensor: a result, an input, a weight or a view.

    `backend` is the number of the backend that computes it, the last one being the CPU. Views have no memory
    of their own, and `resident` tensors (weights, the KV cache) are allocated elsewhere. `n_readers` counts
    the nodes and live views that have yet to read it.
    """

    __slots__ = ("address", "backend", "inplace", "n_bytes", "n_readers", "sources", "view_of", "weight")

    def __init__(  # noqa: PLR0913
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
        self.address = _UNALLOCATED
        self.n_readers = 0
        if resident or weight:
            self.address = 0
            self.keep()

    def keep(self) -> None:
        """Never free the tensor's block."""
        self.n_readers += 1


def reserved_bytes(
    nodes: Sequence[GraphNode],
    inputs: Sequence[GraphNode],
    alignments: Sequence[int],
    *,
    pipelined: bool = False,
) -> tuple[int, ...]:
    """Bytes of the compute buffer of each backend for the graph `nodes`, given in order of execution.

    `nodes` does not include views. `inputs` are filled by the caller, on the CPU. `alignments` are bytes, one
    value per backend. With `pipelined`, several ubatches are in flight, each with its own copy of the inputs.
    """
    graph = _Scheduler(nodes, inputs, _PIPELINE_COPIES if pipelined else 1)
    heaps = [_Heap(alignment) for alignment in alignments]
    for tensor in graph.preallocated:
        tensor.address = heaps[tensor.backend].allocate(tensor.n_bytes)
    for node in graph.scheduled:
        for source in node.sources:
            if not source.n_readers and source.view_of is not None:
                source.view_of.n_readers += 1
            source.n_readers += 1
    for node in graph.scheduled:
        if node.address == _UNALLOCATED and not (node.inplace and _reuse_parent(node)):
            node.address = heaps[node.backend].allocate(node.n_bytes)
        for source in node.sources:
            source.n_readers -= 1
            if not source.n_readers:
                _release(source, heaps)
    return tuple(heap.peak for heap in heaps)


class _Heap:
    """The free blocks of a buffer, sorted by offset. The last one is unbounded."""

    def __init__(self, alignment: int) -> None:
        self._mask = alignment - 1
        self._offsets = [0]
        self._sizes = [_UNBOUNDED]
        self.peak = 0

    def allocate(self, n_bytes: int) -> int:
        """Take the smallest free block that fits, the last of equal ones. Returns its offset."""
        size = (n_bytes + self._mask) & ~self._mask
        best, best_size = 0, _UNBOUNDED
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

    def free(self, offset: int, n_bytes: int) -> None:
        """Free a block and merge it with adjacent free blocks."""
        size = (n_bytes + self._mask) & ~self._mask
        if not size:
            return
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


def _reuse_parent(tensor: GraphNode) -> bool:
    """Reuse the block of a source of the same size that has no other reader and is not a view."""
    for source in tensor.sources:
        if source.n_readers == 1 and source.n_bytes == tensor.n_bytes and source.address != _UNALLOCATED:
            tensor.address, source.address = source.address, _UNALLOCATED
            return True
    return False


def _release(source: GraphNode, heaps: Sequence[_Heap]) -> None:
    """Free the block of `source`, or of the tensor that it is a view of, after its last reader."""
    owner = source
    if source.view_of is not None:
        owner = source.view_of
        owner.n_readers -= 1
    if not owner.n_readers and owner.address != _UNALLOCATED:
        heaps[owner.backend].free(owner.address, owner.n_bytes)
        owner.address = _UNALLOCATED


class _Scheduler:
    """Split the graph where the backend changes, and add copies of the inputs of each split.

    `scheduled` are the nodes and copies in order, `preallocated` the tensors that are allocated first.
    """

    def __init__(self, nodes: Sequence[GraphNode], inputs: Sequence[GraphNode], n_copies: int) -> None:
        self.scheduled: list[GraphNode] = []
        self._n_copies = n_copies
        self._split: list[GraphNode] = []
        self._pending_copies: list[tuple[GraphNode, GraphNode]] = []
        self._copies: dict[tuple[GraphNode, int], GraphNode] = {}
        self.preallocated = [copy for tensor in inputs for copy in self._per_ubatch(tensor)]
        backend = -1
        for node in nodes:
            foreign = copies_weight = False
            for source in node.sources:
                if source.backend != node.backend:
                    foreign = True
                    copies_weight = copies_weight or source.weight
            if node.backend != backend or (copies_weight and self._pending_copies):
                self._end_split()
                backend = node.backend
            if foreign:
                node.sources = tuple(self._copied_to(backend, source) for source in node.sources)
            self._split.append(node)
        self._end_split()

    def _copied_to(self, backend: int, source: GraphNode) -> GraphNode:
        """`source` itself if it is on `backend`, else its copy there."""
        if source.backend == backend:
            return source
        copy = self._copies.get((source, backend))
        if copy is None:
            copy = self._copies[source, backend] = GraphNode(backend, source.n_bytes)
            self._pending_copies.append((source, copy))
            if self._n_copies > 1:
                self.preallocated += self._per_ubatch(copy)
        return copy

    def _end_split(self) -> None:
        for original, copy in self._pending_copies:
            until_copied = GraphNode(original.backend, 0, (original,), resident=True)
            self.scheduled += (until_copied, copy)
        self.scheduled += self._split
        self._pending_copies, self._split = [], []

    def _per_ubatch(self, tensor: GraphNode) -> list[GraphNode]:
        """`tensor` with a copy for every other ubatch in flight; with several ubatches, it is never freed."""
        if self._n_copies > 1:
            tensor.keep()
        return [tensor, *(GraphNode(tensor.backend, tensor.n_bytes) for _ in range(self._n_copies - 1))]
