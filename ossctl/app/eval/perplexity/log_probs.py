"""Log-probabilities of whole rows of logits, and the KL divergence between two models' rows.

Rows are as long as the vocabulary, and many: they are processed in blocks that stay in a core's cache, on as
many threads as there are cores.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
Rows = npt.NDArray[np.void]

T = TypeVar("T")

_BLOCK = 1 << 16  # logits: a quarter of a megabyte
_RANGE = np.float32(16)  # nats below a row's maximum; less likely tokens count as impossible
_LEVELS = np.float32(65_535)


@dataclass(frozen=True)
class Distances:
    """For each row: the log-probability of its target, the KL divergence from the base's row, and whether
    both have the same most likely token.
    """

    log_probs: Floats
    divergence: Floats
    same_top: npt.NDArray[np.bool_]


def row_type(n_vocab: int) -> np.dtype[np.void]:
    """A row of log-probabilities in 16 bits each, as llama-perplexity's --kl-divergence-base keeps them.

    A value is `lowest + scale * code`: one of 65,536 steps from the row's maximum to 16 nats below.
    """
    fields = [("scale", np.float32), ("lowest", np.float32), ("codes", np.uint16, n_vocab + n_vocab % 2)]
    return np.dtype(fields)


def log_probs(logits: Floats, targets: Ids) -> Floats:
    """The log-probabilities of `targets`, one for each row of `logits`."""
    return logits[np.arange(len(targets)), targets] - _log_sums(logits, logits.max(axis=1))


def quantize(logits: Floats, targets: Ids, into: Rows) -> Floats:
    """Write all log-probabilities of `logits` `into` rows of `row_type`; return those of `targets`."""
    highest = logits.max(axis=1)
    lowest = np.maximum(logits.min(axis=1), highest - _RANGE)
    scale = (highest - lowest) / _LEVELS
    steps = logits - lowest[:, None]
    np.maximum(steps, 0, out=steps)
    steps *= np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)[:, None]
    np.rint(steps, out=steps)
    log_sums = _log_sums(logits, highest)
    into["codes"][:, : logits.shape[1]] = steps
    into["scale"] = scale
    into["lowest"] = lowest - log_sums
    found: Floats = logits[np.arange(len(targets)), targets] - log_sums
    return found


def distances(logits: Floats, targets: Ids, base: Rows) -> Distances:
    """How far the distributions of `logits` are from those of `base`, rows of `row_type`."""
    top = logits.argmax(axis=1)
    highest = logits[np.arange(len(top)), top]
    codes = base["codes"][:, : logits.shape[1]]
    log_sums = _log_sums(logits, highest)
    base_log_probs = codes * base["scale"][:, None]
    base_log_probs += base["lowest"][:, None]
    probs = np.exp(base_log_probs)
    probs *= base_log_probs > -_RANGE
    base_log_probs -= logits
    base_log_probs += log_sums[:, None]
    probs *= base_log_probs
    own = logits[np.arange(len(targets)), targets] - log_sums
    return Distances(own, probs.sum(axis=1), top == codes.argmax(axis=1))


def _log_sums(logits: Floats, highest: Floats) -> Floats:
    """The logarithms of the sums of `exp(logits)`, float32 [n]; `highest` is each row's maximum."""
    shifted = logits - highest[:, None]
    np.exp(shifted, out=shifted)
    sums: Floats = highest + np.log(shifted.sum(axis=1))
    return sums


class Blocks:
    """Runs functions on blocks of rows, on several threads."""

    def __init__(self, n_threads: int) -> None:
        self._pool = ThreadPoolExecutor(n_threads, "log-probs")

    def each(self, logits: Floats, process: Callable[[slice], T]) -> Sequence[T]:
        """Call `process` with slices that cover the rows of `logits`. Returns its results in their order."""
        n_rows, n_vocab = logits.shape
        return [*self._pool.map(process, _slices(n_rows, max(1, _BLOCK // n_vocab)))]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _slices(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
