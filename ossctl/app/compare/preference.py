"""How far wins and losses say that one contestant is better."""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb, exp, fsum, lgamma, log, log1p

_BISECTIONS = 60  # halvings of the interval from 0 to 1, to the precision of a float
_TAIL = 0.025  # on each side of a 95 % interval
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Preference:
    """Wins and losses of one of two contestants; ties count as neither, as in a sign test."""

    wins: int
    losses: int

    @property
    def decided(self) -> int:
        return self.wins + self.losses

    @property
    def rate(self) -> float:
        """The share of wins, 0 to 1."""
        return self.wins / self.decided if self.decided else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of Clopper and Pearson.

        It excludes one half exactly if `p_value` is below 5 %.
        """
        wins, n = self.wins, self.decided
        low = _solve(lambda p: _at_least(wins, n, p) < _TAIL) if wins else 0.0
        high = _solve(lambda p: 1 - _at_least(wins + 1, n, p) > _TAIL) if self.losses else 1.0
        return (low, high) if n else (0.0, 1.0)

    @property
    def p_value(self) -> float:
        """Of the sign test: how likely chance alone gives a result as uneven as this, 0 to 1."""
        n, most = self.decided, max(self.wins, self.losses)
        at_least: int = sum(comb(n, k) for k in range(most, n + 1))
        return min(1.0, 2 * at_least / (1 << n))


def _at_least(k: int, n: int, p: float) -> float:
    """The probability of at least `k` successes in `n` trials."""
    if p in (0.0, 1.0):
        return float(k <= n * p)
    return fsum(exp(_log_comb(n, i) + i * log(p) + (n - i) * log1p(-p)) for i in range(k, n + 1))


def _log_comb(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _solve(is_below: Callable[[float], bool]) -> float:
    """The point between 0 and 1 where `is_below` becomes false."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2
