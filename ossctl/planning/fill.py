"""Dividing layers among devices: consecutive ranges, experts left behind where they do not fit."""

from collections.abc import Sequence
from dataclasses import dataclass

from ossctl.planning.shape import LayerShape


@dataclass(frozen=True)
class Division:
    """Layers by device, the head counted as the last, and the layers whose experts stay in RAM."""

    device_layers: tuple[int, ...]
    experts_in_ram: tuple[int, ...]


@dataclass(frozen=True)
class Load:
    """Bytes to be placed: of each layer with its cache but without experts, of its experts, of the head."""

    layers: tuple[int, ...]
    experts: tuple[int, ...]
    head: int

    @classmethod
    def of(cls, layers: Sequence[LayerShape], caches: Sequence[int], head: int) -> "Load":
        dense = tuple(layer.dense_bytes + cache for layer, cache in zip(layers, caches, strict=True))
        return cls(dense, tuple(layer.expert_bytes for layer in layers), head)


def divide(load: Load, room: Sequence[int], gpu_layers: int) -> Division | None:
    """The last `gpu_layers` layers on devices with `room` bytes each; None if they do not fit.

    As many experts as possible come along; among such divisions, the devices are filled most evenly.
    """
    n_layers = len(load.layers)
    first = n_layers + 1 - gpu_layers
    behind = tuple(range(min(first, n_layers)))
    # best[end]: (layers with experts, -fullest, cuts) for the layers from `first` up to `end`
    best: dict[int, tuple[int, float, tuple[int, ...]]] = {first: (0, 0.0, ())}
    for number, free in enumerate(room):
        last = number == len(room) - 1
        following: dict[int, tuple[int, float, tuple[int, ...]]] = {}
        for start, (kept, full, cuts) in best.items():
            for end, count, fill in _ranges(load, start, free, last=last):
                option = (kept + count, min(full, -fill), (*cuts, end))
                if end not in following or option > following[end]:
                    following[end] = option
        best = following
    found = best.get(n_layers + 1)
    if found is None:
        return None
    starts = (first, *found[2])
    counts = tuple(end - start for start, end in zip(starts, found[2], strict=False))
    left = [
        n
        for start, end, free in zip(starts, found[2], room, strict=False)
        for n in _experts_behind(load, start, end, free)
    ]
    return Division(counts, tuple(sorted({*(n for n in behind if load.experts[n]), *left})))


def _ranges(load: Load, start: int, free: int, *, last: bool) -> list[tuple[int, int, float]]:
    """For the ranges from `start` that fit: the end, how many layers keep their experts, how full it gets."""
    n_layers = len(load.layers)
    found: list[tuple[int, int, float]] = [] if last else [(start, 0, 0.0)]
    dense = 0
    for end in range(start + 1, n_layers + 2):
        dense += load.layers[end - 1] if end <= n_layers else load.head
        if dense > free:
            break
        if last and end <= n_layers:
            continue
        behind = _experts_behind(load, start, end, free)
        experts = [load.experts[n] for n in range(start, min(end, n_layers)) if n not in behind]
        found.append((end, sum(map(bool, experts)), (dense + sum(experts)) / free if free else 1.0))
    return found


def _experts_behind(load: Load, start: int, end: int, free: int) -> range:
    """The first layers of a range, whose experts do not fit beside all the rest of it."""
    n_layers = len(load.layers)
    layers = range(start, min(end, n_layers))
    left = free - sum(load.layers[n] for n in layers) - (load.head if end > n_layers else 0)
    keep = layers.stop
    while keep > start and load.experts[keep - 1] <= left:
        keep -= 1
        left -= load.experts[keep]
    return range(start, keep)
