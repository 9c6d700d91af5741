"""Log-probabilities and divergences of blocks of rows equal those of plain formulas in float64."""

import numpy as np
import numpy.typing as npt
import pytest

from ossctl.app.eval.perplexity.log_probs import Blocks, distances, log_probs, quantize, row_type

Rows = npt.NDArray[np.float32]
N_VOCAB = 1_001


def logits_of(seed: int, spread: float = 3, n_rows: int = 70) -> Rows:
    return np.random.default_rng(seed).standard_normal((n_rows, N_VOCAB), dtype=np.float32) * np.float32(
        spread
    )


def targets_of(logits: Rows) -> npt.NDArray[np.int32]:
    return np.random.default_rng(9).integers(0, N_VOCAB, len(logits), dtype=np.int32)


def plain_log_probs(logits: Rows) -> npt.NDArray[np.float64]:
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    return found


def chosen(values: npt.NDArray[np.float64], targets: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = values[np.arange(len(targets)), targets]
    return found


def quantized(logits: Rows) -> npt.NDArray[np.void]:
    rows = np.zeros(len(logits), row_type(N_VOCAB))
    quantize(logits, targets_of(logits), rows)
    return rows


def test_log_probs_are_those_of_the_targets() -> None:
    logits = logits_of(0)
    targets = targets_of(logits)
    exact = chosen(plain_log_probs(logits), targets)
    np.testing.assert_allclose(log_probs(logits, targets), exact, atol=5e-6)
    rows = np.zeros(len(logits), row_type(N_VOCAB))
    np.testing.assert_allclose(quantize(logits, targets, rows), exact, atol=5e-6)


def test_quantized_rows_are_within_half_a_step_down_to_16_nats_below_the_maximum() -> None:
    logits = logits_of(1, spread=6)
    rows, exact = quantized(logits), plain_log_probs(logits)
    found = rows["lowest"][:, None] + rows["scale"][:, None] * rows["codes"][:, :N_VOCAB].astype(np.float64)
    kept = exact > exact.max(axis=1, keepdims=True) - 16
    assert kept.any()
    assert not kept.all()
    assert np.abs(found - exact)[kept].max() < 0.000125
    assert (rows["codes"][:, :N_VOCAB][~kept] == 0).all()


def test_distances_are_the_kl_divergence_and_the_common_first_choice() -> None:
    logits = logits_of(2)
    others = logits + logits_of(3, spread=0.5)
    targets = targets_of(logits)
    found = distances(others, targets, quantized(logits))
    base, own = plain_log_probs(logits), plain_log_probs(others)
    np.testing.assert_allclose(found.divergence, (np.exp(base) * (base - own)).sum(axis=1), atol=2e-4)
    assert found.divergence.mean() == pytest.approx(
        (np.exp(base) * (base - own)).sum(axis=1).mean(), rel=1e-3
    )
    np.testing.assert_allclose(found.log_probs, chosen(own, targets), atol=5e-6)
    np.testing.assert_array_equal(found.same_top, base.argmax(axis=1) == own.argmax(axis=1))
    assert 0 < found.same_top.sum() < len(logits)


def test_a_model_has_no_distance_from_itself() -> None:
    logits = logits_of(4)
    found = distances(logits, targets_of(logits), quantized(logits))
    assert np.abs(found.divergence).max() < 1.25e-4
    assert abs(found.divergence.mean()) < 2e-5
    assert found.same_top.all()


def test_tokens_that_a_model_rules_out_are_no_obstacle() -> None:
    logits = logits_of(5)
    logits[:, 7] = np.finfo(np.float32).min  # so llama.cpp suppresses tokens
    targets = np.zeros(len(logits), np.int32)
    found = distances(logits, targets, quantized(logits))
    assert np.isfinite(found.divergence).all()
    np.testing.assert_allclose(found.log_probs, plain_log_probs(logits)[:, 0], atol=5e-6)


def test_rows_in_which_all_tokens_are_equally_likely() -> None:
    logits = np.zeros((3, N_VOCAB), np.float32)
    found = distances(logits, np.zeros(3, np.int32), quantized(logits))
    np.testing.assert_allclose(found.log_probs, -np.log(N_VOCAB), rtol=1e-6)
    np.testing.assert_allclose(found.divergence, 0, atol=1e-5)


def test_blocks_cover_all_rows_in_order_on_any_number_of_threads() -> None:
    logits = logits_of(6, n_rows=150)
    targets = targets_of(logits)
    for n_threads in (1, 3):
        blocks = Blocks(n_threads)
        parts = blocks.each(logits, lambda part: log_probs(logits[part], targets[part]))
        blocks.close()
        assert len(parts) > 1
        np.testing.assert_array_equal(np.concatenate(parts), log_probs(logits, targets))
