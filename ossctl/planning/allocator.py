"""ggml's graph allocator, replayed: how large a buffer a graph needs on every backend.

llama.cpp reserves its compute buffers by walking the graph of one ubatch: a tensor gets the best fitting free
block, takes over a parent's block where the operation allows, and gives it back after its last use
(ggml/src/ggml-alloc.c). The scheduler first cuts the graph where it changes the backend, and copies what a
part needs from others to its beginning (ggml/src/ggml-backend.cpp). Walking the same graph the same way gives
the same bytes.
"""

from collections.abc import Sequence

_ENDLESS = 1 << 62
_PIPELINE_COPIES = 4  # GGML_SCHED_MAX_COPIES


class Tensor:
    """A result, an input or a weight. `backend` is where it is computed; the last backend is the CPU.

    A view has no bytes of its own, and what is `resident` has its memory already: the cache, and weights.
    """

    __slots__ = (
        "address",
        "allocated",
        "backend",
        "children",
        "inplace",
        "is_output",
        "n_bytes",
        "resident",
        "sources",
        "view_of",
        "views",
        "weight",
    )

    def __init__(  # noqa: PLR0913 (what a tensor of ggml consists of)
        self,
        backend: int,
        n_bytes: int,
        sources: Sequence["Tensor"] = (),
        *,
        inplace: bool = False,
        view_of: "Tensor | None" = None,
        resident: bool = False,
        weight: bool = False,
    ) -> None:
        self.backend = backend
        self.n_bytes = n_bytes
        self.sources = list(sources)
        self.inplace = inplace
        self.view_of: Tensor | None = view_of and (view_of.view_of or view_of)
        self.is_output = False
        self.resident = resident or weight
        self.weight = weight
        self.address = 0
        self.allocated = False
        self.children = 0
        self.views = 0


def reserved_bytes(
    nodes: Sequence[Tensor], inputs: Sequence[Tensor], alignments: Sequence[int], *, pipelined: bool = False
) -> tuple[int, ...]:
    """Bytes that each backend's compute buffer gets for the graph of `nodes`, in order of execution.

    `inputs` are the tensors that the caller fills, on the CPU. `alignments` has a value for each backend.
    With `pipelined`, several ubatches are under way at once, and each has its own copy of every input.
    """
    plan = _Scheduler(nodes, inputs, _PIPELINE_COPIES if pipelined else 1)
    heaps = [_Heap(alignment) for alignment in alignments]
    for tensor in plan.early:
        _allocate(tensor, heaps)
    for node in plan.scheduled:
        if node.view_of is not None:
            node.view_of.views += 1
        for source in node.sources:
            source.children += 1
    for node in plan.scheduled:
        for source in node.sources:
            _allocate(source, heaps)
        _allocate(node, heaps)
        for source in node.sources:
            _release(source, heaps)
    return tuple(heap.peak for heap in heaps)


class _Heap:
    """The free blocks of one buffer, as (offset, size) by offset; the last one is endless."""

    def __init__(self, alignment: int) -> None:
        self._mask = alignment - 1
        self._offsets = [0]
        self._sizes = [_ENDLESS]
        self.peak = 0

    def aligned(self, n_bytes: int) -> int:
        return (n_bytes + self._mask) & ~self._mask

    def take(self, n_bytes: int) -> int:
        """The offset of the best fitting block; of several that fit as well, of the last."""
        size = self.aligned(n_bytes)
        best, best_size = len(self._sizes) - 1, _ENDLESS
        for index, free in enumerate(self._sizes[:-1]):
            if size <= free <= best_size:
                best, best_size = index, free
        offset = self._offsets[best]
        if self._sizes[best] == size:
            del self._offsets[best], self._sizes[best]
        else:
            self._offsets[best] += size
            self._sizes[best] -= size
        self.peak = max(self.peak, offset + size)
        return offset

    def give_back(self, offset: int, n_bytes: int) -> None:
        """Free a block and join it with its free neighbours."""
        size = self.aligned(n_bytes)
        offsets, sizes = self._offsets, self._sizes
        at = 0
        while at < len(offsets) and offsets[at] < offset:
            at += 1
        if at and offsets[at - 1] + sizes[at - 1] == offset:
            sizes[at - 1] += size
            at -= 1
        else:
            offsets.insert(at, offset)
            sizes.insert(at, size)
        if at + 1 < len(offsets) and offsets[at] + sizes[at] == offsets[at + 1]:
            sizes[at] += sizes.pop(at + 1)
            del offsets[at + 1]


def _allocate(tensor: Tensor, heaps: Sequence[_Heap]) -> None:
    if tensor.allocated or tensor.resident or tensor.view_of is not None:
        return
    if tensor.inplace and _take_over(tensor):
        tensor.allocated = True
        return
    tensor.allocated = True
    tensor.address = heaps[tensor.backend].take(tensor.n_bytes)


def _take_over(tensor: Tensor) -> bool:
    """Reuse the block of a source of the same layout that nobody else will read; never through a view."""
    for source in tensor.sources:
        if (
            source.allocated
            and source.n_bytes == tensor.n_bytes
            and source.children == 1
            and not source.views
            and not source.is_output
        ):
            tensor.address = source.address
            source.allocated = False
            return True
    return False


def _release(source: Tensor, heaps: Sequence[_Heap]) -> None:
    """One user of `source` is done; free its block after the last one."""
    source.children -= 1
    if source.children or source.views:
        return
    owner = source
    if source.view_of is not None:
        owner = source.view_of
        owner.views -= 1
        if owner.views or owner.children:
            return
    if owner.allocated and not owner.is_output:
        heaps[owner.backend].give_back(owner.address, owner.n_bytes)
        owner.allocated = False


class _Scheduler:
    """Cuts the graph where it changes the backend, and adds copies of what a part needs from others.

    `scheduled` is the nodes in order with the copies; `early` what is allocated before them all.
    """

    def __init__(self, nodes: Sequence[Tensor], inputs: Sequence[Tensor], n_copies: int) -> None:
        self.scheduled: list[Tensor] = []
        self._n_copies = n_copies
        self._part: list[Tensor] = []
        self._moves: list[tuple[Tensor, Tensor]] = []
        self._copies: dict[tuple[int, int], Tensor] = {}
        self._backend = -1
        kept = [copy for tensor in inputs for copy in self._always_there(tensor)]
        self.early = [*kept, *inputs]
        for node in nodes:
            if node.view_of is None:
                if node.backend != self._backend or (self._moves and self._brings_weight(node)):
                    self._end_part()
                    self._backend = node.backend
                for place, source in enumerate(node.sources):
                    if (source.view_of or source).backend != self._backend:
                        node.sources[place] = self._copy(source)
            self._part.append(node)
        self._end_part()

    def _copy(self, source: Tensor) -> Tensor:
        """`source` on the backend of this part."""
        key = (id(source), self._backend)
        copy = self._copies.get(key)
        if copy is None:
            copy = self._copies[key] = Tensor(self._backend, source.n_bytes)
            self._moves.append((source, copy))
            self.early += self._always_there(copy)
        return copy

    def _end_part(self) -> None:
        for original, copy in self._moves:
            until_copied = Tensor(original.backend, 0, [original], resident=True)
            self.scheduled += (until_copied, copy)
        self.scheduled += self._part
        self._moves, self._part = [], []

    def _brings_weight(self, node: Tensor) -> bool:
        return any(source.weight and source.backend != self._backend for source in node.sources)

    def _always_there(self, tensor: Tensor) -> list[Tensor]:
        """With several ubatches under way, one of `tensor` for each of them, never given back."""
        if self._n_copies == 1:
            return []
        tensor.is_output = True
        return [tensor, *(Tensor(tensor.backend, tensor.n_bytes) for _ in range(self._n_copies - 1))]
