"""Split layers among devices: consecutive ranges, with experts left in RAM where they do not fit."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ossctl.planning.shape import LayerShape


@dataclass(frozen=True)
class LayerSplit:
    """Number of layers per device, counting the output layer, and the layers whose experts stay in RAM."""

    device_layers: tuple[int, ...]
    experts_in_ram: tuple[int, ...]


@dataclass(frozen=True)
class ByteSums:
    """Cumulative sums over the layers and the output layer; item n is the sum of the first n of them.

    `dense` are bytes of weights without experts and of KV caches, `experts` bytes of experts, and
    `expert_layers` counts the layers with experts.
    """

    dense: tuple[int, ...]
    experts: tuple[int, ...]
    expert_layers: tuple[int, ...]

    @classmethod
    def of(cls, layers: Sequence[LayerShape], caches: Sequence[int], output: int) -> "ByteSums":
        dense = [layer.dense_bytes + cache for layer, cache in zip(layers, caches, strict=True)]
        experts = [*(layer.expert_bytes for layer in layers), 0]
        return cls(_sums([*dense, output]), _sums(experts), _sums([n > 0 for n in experts]))


def _sums(amounts: Sequence[int]) -> tuple[int, ...]:
    return tuple(accumulate(amounts, initial=0))


def split_layers(sums: ByteSums, capacities: Sequence[int], gpu_layers: int) -> LayerSplit | None:
    """Split the last `gpu_layers` layers among devices with `capacities` bytes; None if they do not fit.

    The split has as many experts on devices as possible, and among such splits the most even use of memory.
    """
    n_layers = len(sums.dense) - 1
    first = n_layers - gpu_layers
    # best[end]: layers with experts on devices, -fullest, and the ranges for the layers from `first` to `end`
    best: dict[int, tuple[int, float, tuple[_Range, ...]]] = {first: (0, 0.0, ())}
    for number, capacity in enumerate(capacities):
        last = number == len(capacities) - 1
        following: dict[int, tuple[int, float, tuple[_Range, ...]]] = {}
        for start, (kept, fullest, ranges) in best.items():
            for end, keep, with_experts, full in _ranges(sums, start, capacity, last=last):
                option = (kept + with_experts, min(fullest, -full), (*ranges, (end, keep)))
                if end not in following or option > following[end]:
                    following[end] = option
        best = following
    return _split(sums, first, best[n_layers][2]) if n_layers in best else None


_Range = tuple[int, int]  # a device's end of layers, and the first layer that has its experts there


def _split(sums: ByteSums, first: int, ranges: Sequence[_Range]) -> LayerSplit:
    start, counts, in_ram = first, [], [*range(first)]
    for end, keep in ranges:
        counts.append(end - start)
        in_ram += range(start, keep)
        start = end
    return LayerSplit(tuple(counts), tuple(n for n in in_ram if sums.experts[n] < sums.experts[n + 1]))


def _ranges(
    sums: ByteSums, start: int, capacity: int, *, last: bool
) -> Iterator[tuple[int, int, int, float]]:
    """The ranges from `start` that fit one device, with the experts of as many of their last layers as fit.

    Yields (end, first layer with experts, number of layers with experts, share of `capacity` used). The
    `last` device takes all remaining layers.
    """
    n_layers = len(sums.dense) - 1
    if not last:
        yield start, start, 0, 0.0
    keep = start
    for end in range(max(start + 1, n_layers) if last else start + 1, n_layers + 1):
        dense = sums.dense[end] - sums.dense[start]
        if dense > capacity:
            return
        keep = bisect_left(sums.experts, dense + sums.experts[end] - capacity, keep)
        used = dense + sums.experts[end] - sums.experts[keep]
        with_experts = sums.expert_layers[end] - sums.expert_layers[keep]
        yield end, keep, with_experts, used / capacity if capacity else 1.0
