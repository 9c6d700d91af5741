"""Percentiles and rates of a batch."""

import numpy as np
import pytest

from ossctl.app.batch.summary import BatchSummary, Latencies
from ossctl.errors import RequestError


@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_percentiles_are_right_to_two_percent(scale: float) -> None:
    seconds = np.random.default_rng(0).lognormal(0, 1, 10_000) * scale
    latencies = Latencies()
    for value in seconds:
        latencies.add(float(value))
    for percent in (50, 90, 99):
        assert latencies.percentile(percent) == pytest.approx(np.percentile(seconds, percent), rel=0.02)
    assert latencies.longest == seconds.max()


def test_latencies_and_rates_are_zero_without_answers() -> None:
    assert BatchSummary().report()["latency_seconds"] == {"p50": 0.0, "p90": 0.0, "p99": 0.0, "max": 0.0}
    assert BatchSummary().tokens_per_second == 0


def test_zero_seconds_and_a_day_have_a_bucket() -> None:
    latencies = Latencies()
    for seconds in (0.0, 86_400.0):
        latencies.add(seconds)
    assert latencies.percentile(50) < 0.002
    assert latencies.percentile(99) == pytest.approx(86_400, rel=0.02)


def test_lines_that_fail_alike_are_one_remark() -> None:
    summary = BatchSummary()
    for _ in range(1_200):
        summary.add_error(RequestError("body.audio is not supported"))
    for number in range(1_500):
        summary.add_error(RequestError(f"no {number}"))
    assert list(summary.remarks()) == [
        "1,200 failed: body.audio is not supported",
        "1 failed: no 0",
        "1 failed: no 1",
        "1,498 failed with other errors: see error in the records.",
    ]
    assert summary.errors == {"invalid_request": 2_700}
