"""The figures of a perplexity are those of plain formulas over all tokens, however they arrive."""

import math

import numpy as np
import pytest

from ossctl.app.eval.perplexity.statistics import DivergenceSums, PerplexitySums, Sums


def test_a_perplexity_is_exp_of_the_mean_loss_with_its_standard_error() -> None:
    log_probs = -np.random.default_rng(0).exponential(2, 1_000).astype(np.float32)
    sums = PerplexitySums()
    for part in np.split(log_probs, 4):
        sums.add(part)
    losses = -log_probs.astype(np.float64)
    expected = math.exp(losses.mean())
    assert (sums.chunks, sums.tokens) == (4, 1_000)
    assert sums.perplexity.value == pytest.approx(expected, rel=1e-12)
    assert sums.perplexity.error == pytest.approx(expected * losses.std(ddof=1) / math.sqrt(1_000), rel=1e-9)


def test_a_certain_model_has_the_perplexity_1_and_no_error() -> None:
    sums = PerplexitySums()
    sums.add(np.zeros(5, np.float32))
    assert (sums.perplexity.value, sums.perplexity.error) == (1, 0)


def test_the_error_of_a_difference_counts_that_both_series_go_together() -> None:
    rng = np.random.default_rng(1)
    first = rng.standard_normal(500)
    second = first + 0.1 * rng.standard_normal(500)
    sums = Sums()
    sums.add(first[:200], second[:200])
    sums.add(first[200:], second[200:])
    found = sums.difference()
    assert found.value == pytest.approx((first - second).mean(), rel=1e-9)
    assert found.error == pytest.approx((first - second).std(ddof=1) / math.sqrt(500), rel=1e-6)
    assert sums.correlation == pytest.approx(np.corrcoef(first, second)[0, 1], rel=1e-9)


def test_a_distance_has_means_percentiles_and_errors() -> None:
    rng = np.random.default_rng(2)
    base = -rng.exponential(2, 999).astype(np.float32)
    own = (base - rng.standard_normal(999).astype(np.float32) * 0.1).clip(max=0)
    divergence = rng.exponential(0.1, 999).astype(np.float32)
    same = rng.random(999) < 0.9
    sums = DivergenceSums()
    for part in np.split(np.arange(999), 9):
        sums.add(own[part], base[part], divergence[part], same[part])
    found = sums.result()
    loss, other = -own.astype(np.float64), -base.astype(np.float64)
    delta = np.exp(-loss) - np.exp(-other)
    assert found.base_perplexity.value == pytest.approx(math.exp(other.mean()))
    assert found.perplexity_ratio.value == pytest.approx(math.exp((loss - other).mean()))
    assert found.perplexity_ratio.error == pytest.approx(found.perplexity_ratio.value * found.log_ratio.error)
    assert found.kl_divergence.value == pytest.approx(divergence.mean(dtype=np.float64))
    assert found.kl_divergence.error == pytest.approx(
        divergence.std(dtype=np.float64, ddof=1) / math.sqrt(999)
    )
    assert found.kl_percentiles["50"] == pytest.approx(np.median(divergence))
    assert found.kl_percentiles["99.9"] == pytest.approx(np.percentile(divergence.astype(np.float64), 99.9))
    assert (found.kl_percentiles["0"], found.kl_percentiles["100"]) == (divergence.min(), divergence.max())
    assert found.delta_p.value == pytest.approx(delta.mean())
    assert found.rms_delta_p.value == pytest.approx(math.sqrt((delta**2).mean()))
    squares = (delta**2).std(ddof=1) / math.sqrt(999)
    assert found.rms_delta_p.error == pytest.approx(squares / (2 * found.rms_delta_p.value))
    assert found.same_top.value == same.mean()
    assert found.same_top.error == pytest.approx(math.sqrt(same.mean() * (1 - same.mean()) / 998))
    assert sums.mean == found.kl_divergence
