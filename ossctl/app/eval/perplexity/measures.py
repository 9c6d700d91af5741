"""What is made of logits: a perplexity, the file of a base model, the distance from that model."""

from typing import Protocol

import numpy as np

from ossctl.app.eval.perplexity.base_file import BaseFile
from ossctl.app.eval.perplexity.log_probs import (
    Blocks,
    Distances,
    Floats,
    Ids,
    distances,
    log_probs,
    quantize,
)
from ossctl.app.eval.perplexity.statistics import DivergenceSums, PerplexitySums
from ossctl.errors import OssctlError
from ossctl.runtime.base import Tokens

_ROWS_AT_ONCE = 64  # of a base model, between writes to the disk


class Measure(Protocol):
    """Gets the rows of logits of one chunk after the other."""

    sums: PerplexitySums
    distances: DivergenceSums | None

    def add(self, logits: Floats, targets: Ids) -> None:
        """Take rows of logits, and the tokens that follow in the text."""

    def end_chunk(self, tokens: Tokens) -> None:
        """The rows of a chunk are complete."""


class PerplexityMeasure:
    """Measures the perplexity alone."""

    def __init__(self, blocks: Blocks) -> None:
        self.distances: DivergenceSums | None = None
        self.sums = PerplexitySums()
        self._blocks = blocks
        self._parts: list[Floats] = []

    def add(self, logits: Floats, targets: Ids) -> None:
        self._parts += self._blocks.each(logits, lambda part: log_probs(logits[part], targets[part]))

    def end_chunk(self, tokens: Tokens) -> None:  # noqa: ARG002 (only the others need it)
        self.sums.add(_finite(_joined(self._parts)))


class BaseMeasure:
    """Measures the perplexity, and writes all log-probabilities to a file."""

    def __init__(self, blocks: Blocks, file: BaseFile) -> None:
        self.distances: DivergenceSums | None = None
        self.sums = PerplexitySums()
        self._blocks, self._file = blocks, file
        self._parts: list[Floats] = []
        self._rows = np.zeros(_ROWS_AT_ONCE, file.row_type)

    def add(self, logits: Floats, targets: Ids) -> None:
        for start in range(0, len(logits), _ROWS_AT_ONCE):
            self._add(logits[start : start + _ROWS_AT_ONCE], targets[start : start + _ROWS_AT_ONCE])

    def _add(self, logits: Floats, targets: Ids) -> None:
        rows = self._rows[: len(logits)]
        self._parts += self._blocks.each(
            logits, lambda part: quantize(logits[part], targets[part], rows[part])
        )
        self._file.write(rows)

    def end_chunk(self, tokens: Tokens) -> None:
        found = _finite(_joined(self._parts))
        self._file.end_chunk(tokens, found)
        self.sums.add(found)


class DistanceMeasure:
    """Measures the perplexity, and the distance from the base model of a file."""

    def __init__(self, blocks: Blocks, file: BaseFile) -> None:
        self.sums = PerplexitySums()
        self._distances = DivergenceSums()
        self.distances: DivergenceSums | None = self._distances
        self._blocks, self._file = blocks, file
        self._rows = file.rows()
        self._n_rows = 0
        self._parts: list[Distances] = []

    def add(self, logits: Floats, targets: Ids) -> None:
        rows = self._rows[self._n_rows : self._n_rows + len(logits)]
        self._n_rows += len(logits)
        self._parts += self._blocks.each(
            logits, lambda part: distances(logits[part], targets[part], rows[part])
        )

    def end_chunk(self, tokens: Tokens) -> None:  # noqa: ARG002 (they are the base's)
        found = _finite(np.concatenate([part.log_probs for part in self._parts]))
        divergence = _finite(np.concatenate([part.divergence for part in self._parts]))
        same_top = np.concatenate([part.same_top for part in self._parts])
        self._parts.clear()
        base = self._file.log_probs(self.sums.chunks)
        self.sums.add(found)
        self._distances.add(found, base, divergence, same_top)


def _joined(parts: list[Floats]) -> Floats:
    """All of `parts`, which is empty afterwards."""
    found: Floats = np.concatenate(parts)
    parts.clear()
    return found


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise OssctlError(
            "the model computed probabilities that are not finite numbers",
            "`ossctl doctor` compares the devices with the CPU; the file may be damaged.",
        )
    return values
