"""Means of repeated measurements with their 95 % intervals."""

from collections.abc import Sequence
from math import exp, log, sqrt
from statistics import fmean, stdev

import msgspec

from ossctl.app.quantiles import student

PRECISE = 0.05  # half of an interval, as a share of its mean


class Estimate(msgspec.Struct, frozen=True):
    """A mean of `rounds` values, and its 95 % interval; None with a single round."""

    value: float
    low: float | None
    high: float | None
    rounds: int

    @property
    def error(self) -> float | None:
        """Half of the interval, as a share of the value."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.value if self.value else 0.0

    @property
    def precise(self) -> bool:
        """Whether the interval is as narrow as wanted."""
        return self.error is not None and self.error < PRECISE

    def excludes(self, value: float) -> bool:
        """Whether `value` is outside of the interval."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def mean_of(values: Sequence[float]) -> Estimate:
    """The geometric mean of positive values: of their logarithms, since speeds are off by factors."""
    logs = [log(value) for value in values]
    middle = fmean(logs)
    if len(logs) < 2:
        return Estimate(exp(middle), None, None, len(logs))
    half = student(len(logs) - 1) * stdev(logs) / sqrt(len(logs))
    return Estimate(exp(middle), exp(middle - half), exp(middle + half), len(logs))


def ratio_of(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """The mean of `first` / `second`, measured in the same rounds."""
    return mean_of([a / b for a, b in zip(first, second, strict=True)])
