"""Dividing layers among devices: consecutive ranges, experts left behind where they do not fit."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ossctl.planning.shape import LayerShape


@dataclass(frozen=True)
class Division:
    """Layers by device, the head counted as the last, and the layers whose experts stay in RAM."""

    device_layers: tuple[int, ...]
    experts_in_ram: tuple[int, ...]


@dataclass(frozen=True)
class Load:
    """Bytes to be placed, summed up to each layer: without experts but with caches, of experts.

    The head counts as the last layer. `expert_layers` is how many layers have experts up to there.
    """

    dense: tuple[int, ...]
    experts: tuple[int, ...]
    expert_layers: tuple[int, ...]

    @classmethod
    def of(cls, layers: Sequence[LayerShape], caches: Sequence[int], head: int) -> "Load":
        dense = [layer.dense_bytes + cache for layer, cache in zip(layers, caches, strict=True)]
        experts = [*(layer.expert_bytes for layer in layers), 0]
        return cls(_sums([*dense, head]), _sums(experts), _sums([n > 0 for n in experts]))


def _sums(amounts: Sequence[int]) -> tuple[int, ...]:
    return tuple(accumulate(amounts, initial=0))


def divide(load: Load, room: Sequence[int], gpu_layers: int) -> Division | None:
    """The last `gpu_layers` layers on devices with `room` bytes each; None if they do not fit.

    As many experts as possible come along; among such divisions, the devices are filled most evenly.
    """
    whole = len(load.dense) - 1
    first = whole - gpu_layers
    # best[end]: layers with experts, -fullest, and the ranges for the layers from `first` up to `end`
    best: dict[int, tuple[int, float, tuple[_Range, ...]]] = {first: (0, 0.0, ())}
    for number, free in enumerate(room):
        last = number == len(room) - 1
        following: dict[int, tuple[int, float, tuple[_Range, ...]]] = {}
        for start, (kept, fullest, ranges) in best.items():
            for end, keep, with_experts, full in _ranges(load, start, free, last=last):
                option = (kept + with_experts, min(fullest, -full), (*ranges, (end, keep)))
                if end not in following or option > following[end]:
                    following[end] = option
        best = following
    if whole not in best:
        return None
    start, counts, left = first, [], [*range(first)]
    for end, keep in best[whole][2]:
        counts.append(end - start)
        left += range(start, keep)
        start = end
    return Division(tuple(counts), tuple(n for n in left if load.experts[n] < load.experts[n + 1]))


_Range = tuple[int, int]  # of layers on one device: its end, and the first that has its experts there too


def _ranges(load: Load, start: int, free: int, *, last: bool) -> Iterator[tuple[int, int, int, float]]:
    """The ranges from `start` that fit, with the experts of as many of their last layers as fit too.

    With each, how many of its layers bring experts, and the share of the device's room that is taken.
    """
    whole = len(load.dense) - 1
    if not last:
        yield start, start, 0, 0.0
    keep = start
    for end in range(max(start + 1, whole) if last else start + 1, whole + 1):
        dense = load.dense[end] - load.dense[start]
        if dense > free:
            return
        keep = bisect_left(load.experts, dense + load.experts[end] - free, keep)
        taken = dense + load.experts[end] - load.experts[keep]
        yield end, keep, load.expert_layers[end] - load.expert_layers[keep], taken / free if free else 1.0
