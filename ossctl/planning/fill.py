"""Dividing layers among devices: consecutive ranges, experts left behind where they do not fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    # best[end]: (layers with experts, -fullest, ranges) for the layers from `first` up to `end`
    best: dict[int, tuple[int, float, tuple[_Range, ...]]] = {first: (0, 0.0, ())}
    for number, free in enumerate(room):
        last = number == len(room) - 1
        following: dict[int, tuple[int, float, tuple[_Range, ...]]] = {}
        for start, (kept, full, ranges) in best.items():
            for found in _ranges(load, start, free, last=last):
                option = (kept + found.with_experts, min(full, -found.full), (*ranges, found))
                if found.end not in following or option > following[found.end]:
                    following[found.end] = option
        best = following
    if n_layers + 1 not in best:
        return None
    ranges = best[n_layers + 1][2]
    left = [*range(min(first, n_layers)), *(n for part in ranges for n in range(part.start, part.keep))]
    counts = tuple(part.end - part.start for part in ranges)
    return Division(counts, tuple(n for n in left if load.experts[n]))


class _Range(NamedTuple):
    """Layers `start` to `end`, the head counted as one, on one device.

    Those before `keep` leave their experts in RAM, and `with_experts` of the others have some. `full` is the
    share of the device's room that is taken.
    """

    end: int
    start: int
    keep: int
    with_experts: int
    full: float


def _ranges(load: Load, start: int, free: int, *, last: bool) -> Iterator[_Range]:
    """The ranges from `start` that fit, with the experts of as many of their last layers as fit too."""
    n_layers = len(load.layers)
    if not last:
        yield _Range(start, start, start, 0, 0.0)
    dense = experts = count = 0
    keep = start
    for end in range(start + 1, n_layers + 2):
        if end <= n_layers:
            dense += load.layers[end - 1]
            experts += load.experts[end - 1]
            count += load.experts[end - 1] > 0
        else:
            dense += load.head
        if dense > free:
            return
        while dense + experts > free:
            experts -= load.experts[keep]
            count -= load.experts[keep] > 0
            keep += 1
        if not last or end > n_layers:
            yield _Range(end, start, keep, count, (dense + experts) / free if free else 1.0)
