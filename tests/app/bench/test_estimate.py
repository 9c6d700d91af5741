"""Means with intervals, and what they are used for."""

import pytest

from ossctl.app.bench.comparison import quotient
from ossctl.app.bench.estimate import Estimate, mean_of, ratio_of


def test_a_mean_has_an_interval_once_it_is_repeated() -> None:
    once = mean_of([7.0])
    assert once.value == pytest.approx(7)
    assert once.low is once.high is once.error is None
    assert not once.precise
    several = mean_of([90, 100, 110])
    assert several.low is not None
    assert several.high is not None
    assert several.low < several.value < several.high
    assert not several.precise
    assert mean_of([99, 100, 101]).precise


def test_the_ratio_of_pairs_is_precise_where_both_sides_vary_together() -> None:
    machine = [1.0, 0.5, 0.8, 0.6]  # other programs take its time
    ours, bare = [98 * share for share in machine], [100 * share for share in machine]
    assert not mean_of(ours).precise
    ratio = ratio_of(ours, bare)
    assert ratio.value == pytest.approx(0.98)
    assert ratio.error == pytest.approx(0, abs=1e-9)
    assert ratio.excludes(1.0)


def test_a_quotient_of_independent_means_is_less_certain_than_either() -> None:
    first, second = mean_of([100, 102, 104]), mean_of([50, 51, 52])
    ratio = quotient(first, second)
    assert ratio.value == pytest.approx(2, rel=0.01)
    assert ratio.error is not None
    assert ratio.error > max(first.error or 0, second.error or 0)
    assert quotient(first, mean_of([50])).error is None


def test_only_an_interval_excludes_a_value() -> None:
    assert not Estimate(2.0, None, None, 1).excludes(1.0)
    assert Estimate(2.0, 1.5, 2.5, 3).excludes(1.0)
    assert not Estimate(2.0, 0.5, 3.5, 3).excludes(1.0)
