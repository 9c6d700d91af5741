"""Tells by the requests that outputs have which shards they are, and what each one lacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ossctl.app.wire.shard import Shard

_SURE = 8  # distances: chance would make one of them uneven
_Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Gap:
    """`missing` of the `total` requests of a shard; `output` is None if it has no record at all."""

    shard: Shard
    missing: int
    total: int
    output: Path | None


def shard_gaps(outputs: Mapping[Path, _Positions], missing: _Positions, total: int) -> list[Gap]:
    """The shards with `missing` requests; empty if the outputs are not of shards.

    `outputs` are the sorted positions of each one's records in the input, which has `total` requests.
    """
    found = {path: positions for path, positions in outputs.items() if len(positions)}
    n_shards = _count_shards(list(found.values()), len(outputs))
    if not n_shards or not len(missing):
        return []
    path_of = {int(positions[0]) % n_shards: path for path, positions in found.items()}
    counts = np.bincount(missing % n_shards, minlength=n_shards).tolist()
    return [
        Gap(Shard(index + 1, n_shards), count, len(range(index, total, n_shards)), path_of.get(index))
        for index, count in enumerate(counts)
        if count
    ]


def _count_shards(found: Sequence[_Positions], n_outputs: int) -> int:
    """The number of shards, by the distances between the records of an output; 0 if that is not clear.

    A few records may be further apart by chance.
    """
    if not found:
        return 0
    distances = np.concatenate([positions[1:] - positions[0] for positions in found])
    count = int(np.gcd.reduce(distances)) if len(distances) else 0
    if count < 2 or len({int(positions[0]) % count for positions in found}) < len(found):
        return 0
    return count if count == n_outputs or len(distances) >= _SURE else 0
