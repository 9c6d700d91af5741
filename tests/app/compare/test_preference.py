"""Intervals and p-values, against figures from tables."""

import pytest

from ossctl.app.compare.preference import Preference


@pytest.mark.parametrize(
    ("wins", "losses", "low", "high", "p"),
    [  # as R's binom.test gives them
        (3, 1, 0.1941204, 0.9936905, 0.625),
        (9, 1, 0.5549839, 0.9974714, 0.02148438),
        (0, 5, 0.0, 0.5218238, 0.0625),
        (60, 40, 0.4972092, 0.6967052, 0.05688793),
    ],
)
def test_the_interval_and_the_sign_test_are_exact(
    wins: int, losses: int, low: float, high: float, p: float
) -> None:
    found = Preference(wins, losses)
    assert found.interval == pytest.approx((low, high), abs=1e-6)
    assert found.p_value == pytest.approx(p, abs=1e-6)


def test_the_interval_excludes_one_half_exactly_if_the_test_is_significant() -> None:
    for wins in range(16):
        for losses in range(16):
            found = Preference(wins, losses)
            low, high = found.interval
            if wins + losses:
                assert (low > 0.5 or high < 0.5) == (found.p_value < 0.05), (wins, losses)


def test_no_votes_say_nothing_and_many_are_counted() -> None:
    assert Preference(0, 0).interval == (0.0, 1.0)
    assert Preference(0, 0).p_value == 1.0
    low, high = Preference(3_000, 2_000).interval
    assert low == pytest.approx(0.5863, abs=1e-3)
    assert high == pytest.approx(0.6136, abs=1e-3)
