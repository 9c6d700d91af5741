"""Means with their uncertainty, as llama-perplexity computes them, and what is reported of a model."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

_PERCENTS = (0.1, 1, 5, 10, 50, 90, 95, 99, 99.9)


class Estimate(msgspec.Struct, frozen=True):
    """A value and its standard error."""

    value: float
    error: float


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """How far a model is from a base model. Differences are the model's value less the base's.

    Percentiles are by percent, with the minimum at "0" and the maximum at "100". `delta_p` is the difference
    of the probabilities of the text's own tokens, and `rms_delta_p` its root mean square.
    """

    base_perplexity: Estimate
    perplexity_ratio: Estimate
    log_ratio: Estimate
    correlation: float
    kl_divergence: Estimate
    kl_percentiles: dict[str, float]
    delta_p: Estimate
    delta_p_percentiles: dict[str, float]
    rms_delta_p: Estimate
    same_top: Estimate


class Sums:
    """Running sums of the powers and products of two series; one of them may be left out."""

    def __init__(self) -> None:
        self.count = 0
        self._sums = np.zeros(2)
        self._products = np.zeros((2, 2))

    def add(self, first: Sequence[float] | npt.NDArray[Any], second: npt.NDArray[Any] | None = None) -> None:
        values = np.zeros((2, len(first)))
        values[0] = first
        if second is not None:
            values[1] = second
        self.count += values.shape[1]
        self._sums += values.sum(axis=1)
        self._products += values @ values.T

    def mean(self, series: int = 0) -> Estimate:
        """The mean of a series; its error is 0 if it cannot be told from so few values."""
        return Estimate(float(self._sums[series] / self.count), math.sqrt(self.covariance(series, series)))

    def covariance(self, one: int = 0, other: int = 1) -> float:
        """The covariance of the means of two series, or the variance of one."""
        if self.count < 2:
            return 0.0
        mean = self._sums[one] * self._sums[other] / self.count**2
        found = float(self._products[one, other] / self.count - mean) / (self.count - 1)
        return max(found, 0.0) if one == other else found

    def difference(self) -> Estimate:
        """The mean of the first series less that of the second."""
        first, second = self.mean(0), self.mean(1)
        variance = first.error**2 + second.error**2 - 2 * self.covariance()
        return Estimate(first.value - second.value, math.sqrt(max(variance, 0.0)))

    @property
    def correlation(self) -> float:
        """The correlation of the two series; 1 if they do not vary."""
        errors = self.mean(0).error * self.mean(1).error
        return self.covariance() / errors if errors else 1.0


def exponential(estimate: Estimate) -> Estimate:
    """`exp` of an estimate."""
    value = math.exp(estimate.value)
    return Estimate(value, value * estimate.error)


class PerplexitySums:
    """The negative log-probabilities of a text's tokens, of which only the sums are kept."""

    def __init__(self) -> None:
        self.chunks = 0
        self._losses = Sums()

    def add(self, log_probs: npt.NDArray[np.float32]) -> None:
        """Add the log-probabilities of a chunk's tokens."""
        self.chunks += 1
        self._losses.add(-log_probs.astype(np.float64))

    @property
    def tokens(self) -> int:
        """How many tokens have been scored."""
        return self._losses.count

    @property
    def perplexity(self) -> Estimate:
        """`exp` of the mean negative log-probability so far; there must be a chunk."""
        return exponential(self._losses.mean())


class DivergenceSums:
    """What is known of the tokens of two models: sums, and for the percentiles two numbers per token."""

    def __init__(self) -> None:
        self._losses = Sums()  # of the model and of the base
        self._changes = Sums()  # of probabilities
        self._squares = Sums()
        self._kl = Sums()
        self._divergences: list[npt.NDArray[np.float32]] = []
        self._deltas: list[npt.NDArray[np.float32]] = []
        self._n_same = 0

    def add(
        self,
        log_probs: npt.NDArray[np.float32],
        base: npt.NDArray[np.float32],
        divergence: npt.NDArray[np.float32],
        same_top: npt.NDArray[np.bool_],
    ) -> None:
        """Add a chunk: the log-probabilities of its tokens, and how far the whole rows are apart."""
        own, others = log_probs.astype(np.float64), base.astype(np.float64)
        self._losses.add(-own, -others)
        delta = np.exp(own) - np.exp(others)
        self._changes.add(delta)
        self._squares.add(delta**2)
        self._deltas.append(delta.astype(np.float32))
        self._kl.add(divergence)
        self._divergences.append(divergence)
        self._n_same += int(same_top.sum())

    @property
    def mean(self) -> Estimate:
        """The KL divergence so far; there must be a chunk."""
        return self._kl.mean()

    def result(self) -> Divergence:
        """The distance so far; there must be a chunk."""
        divergences, deltas = np.concatenate(self._divergences), np.concatenate(self._deltas)
        return Divergence(
            base_perplexity=exponential(self._losses.mean(1)),
            perplexity_ratio=exponential(self._losses.difference()),
            log_ratio=self._losses.difference(),
            correlation=self._losses.correlation,
            kl_divergence=self.mean,
            kl_percentiles=_percentiles(divergences),
            delta_p=self._changes.mean(),
            delta_p_percentiles=_percentiles(deltas),
            rms_delta_p=_root(self._squares.mean()),
            same_top=_share(self._n_same, len(divergences)),
        )


def _root(estimate: Estimate) -> Estimate:
    root = math.sqrt(estimate.value)
    return Estimate(root, estimate.error / (2 * root) if root else 0.0)


def _share(n: int, total: int) -> Estimate:
    share = n / total
    return Estimate(share, math.sqrt(share * (1 - share) / (total - 1)) if total > 1 else 0.0)


def _percentiles(values: npt.NDArray[np.float32]) -> dict[str, float]:
    """Minimum, percentiles and maximum, interpolated."""
    percents = (0, *_PERCENTS, 100)
    found = np.percentile(values.astype(np.float64), percents)
    return {f"{percent:g}": float(value) for percent, value in zip(percents, found, strict=True)}
