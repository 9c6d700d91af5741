"""Sampled tokens against exact probabilities in float64."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ossctl.engine.request import Sampling
from ossctl.engine.sampler import BadLogits, Sampler
from ossctl.errors import RequestError
from ossctl.guide import Mask
from ossctl.runtime.base import Logits

Probabilities = npt.NDArray[np.float64]

O200K = 201_088  # gpt-oss's vocabulary
SIZES = [1, 7, 128, 130, 1000]  # most are not a multiple of the sampler's groups of 128
BEFORE_ONE = math.nextafter(1, 0)

EVERY_WAY = [
    Sampling(),
    Sampling(temperature=0.5),
    Sampling(temperature=2),
    Sampling(top_k=5),
    Sampling(top_p=0.8),
    Sampling(min_p=0.05),
    Sampling(temperature=1.5, top_k=20, top_p=0.9, min_p=0.04),
    Sampling(logit_bias={0: -1e9, 3: 2.5}),
    Sampling(logit_bias={1: 3, 2: -1e9}, top_p=0.9),
]


def settings_of(sampling: Sampling) -> str:
    """What differs from the defaults, for a test's name."""
    chosen = {name: value for name, value in vars(sampling).items() if value != getattr(Sampling(), name)}
    return ",".join(f"{name}={value}" for name, value in chosen.items()) or "plain"


def random_logits(n_vocab: int, *, seed: int = 0, spread: float = 2) -> Logits:
    return np.random.default_rng(seed).normal(0, spread, n_vocab).astype(np.float32)


def exact(logits: Logits, sampling: Sampling) -> Probabilities:
    """The definition, sorting everything: temperature, top_k, top_p of the rest, min_p of the top token."""
    row = logits.astype(np.float64)
    for token, bias in sampling.logit_bias.items():
        row[token] += bias
    weights = np.exp((row - row.max()) / sampling.temperature)
    order = np.argsort(-weights, kind="stable")[: sampling.top_k or None]
    if sampling.top_p < 1:
        before = np.cumsum(weights[order]) - weights[order]
        order = order[(before < sampling.top_p * weights[order].sum()) | (np.arange(len(order)) == 0)]
    kept = order[weights[order] >= sampling.min_p]
    probabilities = np.zeros(len(row))
    probabilities[kept] = weights[kept] / weights[kept].sum()
    return probabilities


def counts_of(tokens: Iterable[int], n_vocab: int) -> Probabilities:
    return np.bincount(np.fromiter(tokens, np.int64), minlength=n_vocab).astype(np.float64)


def assert_sampled_from(probabilities: Probabilities, counts: Probabilities) -> None:
    """Chi-square at 1 in 10,000, the critical value by Wilson and Hilferty; rare outcomes count as one."""
    assert not counts[probabilities == 0].any()
    expected = probabilities * counts.sum()
    common = expected >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    observed, expected = observed[expected > 0], expected[expected > 0]
    freedom = max(len(expected) - 1, 1)
    limit = freedom * (1 - 2 / (9 * freedom) + 3.72 * math.sqrt(2 / (9 * freedom))) ** 3
    assert ((observed - expected) ** 2 / expected).sum() <= limit


@pytest.mark.parametrize("n_vocab", [7, 130, 1000])
@pytest.mark.parametrize("sampling", EVERY_WAY, ids=settings_of)
def test_samples_have_the_exact_distribution(sampling: Sampling, n_vocab: int) -> None:
    logits, sampler = random_logits(n_vocab), Sampler(n_vocab)
    uniforms = np.random.default_rng(1).random(4000).tolist()
    counts = counts_of((sampler.sample(logits, sampling, uniform) for uniform in uniforms), n_vocab)
    assert_sampled_from(exact(logits, sampling), counts)


@pytest.mark.parametrize("n_vocab", SIZES)
@pytest.mark.parametrize("shift", [0, 1e4, -1e4])
def test_every_token_gets_its_share_of_an_even_grid(n_vocab: int, shift: float) -> None:
    """Logits of any height: only differences matter. Their float32 spacing at 1e4 is 0.001."""
    logits, sampler, points = random_logits(n_vocab) + np.float32(shift), Sampler(n_vocab), 2000
    grid = ((i + 0.5) / points for i in range(points))
    counts = counts_of((sampler.sample(logits, Sampling(), uniform) for uniform in grid), n_vocab)
    assert np.abs(counts - exact(logits, Sampling()) * points).max() <= 2


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.7), Sampling(top_k=50), Sampling(top_p=0.7)],
    ids=settings_of,
)
def test_a_vocabulary_as_large_as_that_of_gpt_oss(sampling: Sampling) -> None:
    logits, sampler, points = random_logits(O200K, spread=3), Sampler(O200K), 1000
    probabilities = exact(logits, sampling)
    tokens = [sampler.sample(logits, sampling, (i + 0.5) / points) for i in range(points)]
    assert (probabilities[tokens] > 0).all()
    groups = np.arange(O200K) * 16 // O200K
    shares = np.bincount(groups, probabilities, 16) * points
    assert_sampled_from(shares / shares.sum(), counts_of(groups[tokens].tolist(), 16))
    heavy = np.flatnonzero(probabilities > 3 / points)
    assert np.abs(counts_of(tokens, O200K)[heavy] - probabilities[heavy] * points).max(initial=0) <= 2


def test_limits_apply_in_the_order_top_k_then_top_p_of_the_rest_then_min_p() -> None:
    logits, sampler = np.log([0.4, 0.3, 0.2, 0.1]).astype(np.float32), Sampler(4)

    def candidates(sampling: Sampling) -> list[int]:
        return sorted(sampler._candidates(logits, sampling)[0].tolist())

    assert candidates(Sampling(top_p=0.5)) == [0, 1]
    assert candidates(Sampling(top_k=2, top_p=0.5)) == [0]  # 0.4 of 0.7 is more than half
    assert candidates(Sampling(min_p=0.6)) == [0, 1]  # 0.3 is three quarters of the best, 0.2 half
    assert candidates(Sampling(top_p=0.85, min_p=0.6)) == [0, 1]
    assert candidates(Sampling(temperature=2, min_p=0.6)) == [0, 1, 2]  # temperature comes first
    assert candidates(Sampling(top_p=0)) == candidates(Sampling(min_p=1)) == [0]  # one is always left


@given(
    eighths=st.lists(st.integers(-160, 160), min_size=1, max_size=300, unique=True),
    temperature=st.sampled_from([0.5, 1.0, 1.7]),
    top_k=st.integers(0, 40),
    top_p=st.sampled_from([1.0, 0.0]) | st.floats(0.01, 0.999),
    min_p=st.sampled_from([0.0, 1.0]) | st.floats(1e-6, 0.999),
)
def test_candidates_are_those_of_the_definition(
    eighths: list[int], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    sampling = Sampling(temperature, top_k, top_p, min_p)
    assume(top_k or top_p < 1 or min_p > 0)
    logits = (np.array(eighths) / 8).astype(np.float32)
    # What float32 and float64 may decide differently lies within their rounding of a limit.
    expected = exact(logits, sampling)
    for nudge in (1 - 1e-4, 1 + 1e-4):
        nudged_top_p = top_p if top_p == 1 else top_p * nudge
        nudged = Sampling(temperature, top_k, nudged_top_p, min(min_p * nudge, 1.0))
        assume(np.array_equal(exact(logits, nudged) > 0, expected > 0))
    ids, weights = Sampler(len(logits))._candidates(logits, sampling)
    assert sorted(ids.tolist()) == np.flatnonzero(expected).tolist()
    np.testing.assert_allclose(weights / weights.sum(), expected[ids], rtol=1e-4)


@pytest.mark.parametrize("peak", [12, 25])
def test_a_nucleus_may_reach_far_below_the_most_likely_token(peak: int) -> None:
    """Many tokens at 6e-6 of the top token's weight weigh as much together; at 1e-11, they do not."""
    logits, sampling = random_logits(O200K, spread=0.1), Sampling(top_p=0.9 if peak == 12 else 1 - 1e-7)
    logits[1000] = peak
    ids, weights = Sampler(O200K)._candidates(logits, sampling)
    expected = exact(logits, sampling)
    assert len(ids) == pytest.approx(np.count_nonzero(expected), rel=0.01)
    assert weights[ids == 1000] / weights.sum() == pytest.approx(expected[1000], rel=1e-4)


@pytest.mark.parametrize("n_vocab", [7, 1000])
def test_top_k_keeps_its_number_among_equal_tokens(n_vocab: int) -> None:
    logits, sampler = np.zeros(n_vocab, np.float32), Sampler(n_vocab)
    assert len(sampler._candidates(logits, Sampling(top_k=3))[0]) == 3
    assert len(set(sampler._candidates(logits, Sampling(top_p=0.5))[0].tolist())) == math.ceil(n_vocab / 2)
    assert len(sampler._candidates(logits, Sampling(min_p=0.9))[0]) == n_vocab


@pytest.mark.parametrize(
    "sampling", [*EVERY_WAY, Sampling(top_p=1 - 1e-12), Sampling(min_p=1e-300)], ids=settings_of
)
@pytest.mark.parametrize("n_vocab", [130, 1000, O200K])
def test_tokens_of_probability_zero_are_never_sampled(sampling: Sampling, n_vocab: int) -> None:
    """With most of the vocabulary at -inf, first and last token included, at the ends of [0, 1)."""
    logits, possible = np.full(n_vocab, -np.inf, np.float32), [3, 4, 77, 129 if n_vocab > 130 else 128]
    logits[possible] = [1, 0, 2, 1]
    sampler = Sampler(n_vocab)
    for uniform in (0.0, 5e-324, 0.25, 0.5, 0.75, BEFORE_ONE):
        assert sampler.sample(logits, sampling, uniform) in possible


def test_a_banned_token_is_never_sampled_and_the_others_keep_their_proportions() -> None:
    logits = random_logits(130)
    most_likely, sampler = int(logits.argmax()), Sampler(130)
    banned = Sampling(logit_bias={most_likely: -1e9})
    tokens = Counter(sampler.sample(logits, banned, i / 2000) for i in range(2000))
    assert most_likely not in tokens
    rest = exact(logits, Sampling())
    rest[most_likely] = 0
    assert_sampled_from(rest / rest.sum(), counts_of(tokens.elements(), 130))
    assert sampler.sample(logits, Sampling(temperature=0, logit_bias={most_likely: -1e9}), 0.5) != most_likely


def without(banned: Mask, logits: Logits, sampling: Sampling) -> Probabilities:
    """The definition: banned tokens are removed before any limit."""
    probabilities = np.zeros(len(logits))
    left = np.flatnonzero(~banned)
    bias = {int(np.searchsorted(left, t)): b for t, b in sampling.logit_bias.items() if not banned[t]}
    probabilities[left] = exact(logits[left], replace(sampling, logit_bias=bias))
    return probabilities


@pytest.mark.parametrize("share", [0.1, 0.9])
@pytest.mark.parametrize("sampling", EVERY_WAY, ids=settings_of)
def test_samples_without_banned_tokens_have_the_exact_distribution(sampling: Sampling, share: float) -> None:
    logits, sampler = random_logits(130), Sampler(130)
    banned = np.random.default_rng(3).random(130) < share
    banned[logits.argmax()] = True
    expected = without(banned, logits, sampling)
    uniforms = np.random.default_rng(1).random(4000).tolist()
    for form in (banned, np.flatnonzero(banned)):
        counts = counts_of((sampler.sample(logits, sampling, u, form) for u in uniforms), 130)
        assert_sampled_from(expected, counts)


@pytest.mark.parametrize(
    "sampling", [*EVERY_WAY, Sampling(temperature=0), Sampling(top_k=100)], ids=settings_of
)
@pytest.mark.parametrize("n_vocab", [7, 130, 1000, O200K])
def test_the_only_token_left_is_sampled(sampling: Sampling, n_vocab: int) -> None:
    """However unlikely, also at the ends of the vocabulary and of [0, 1)."""
    logits, sampler = random_logits(n_vocab), Sampler(n_vocab)
    for left in (2, n_vocab // 2, n_vocab - 1):
        banned = np.ones(n_vocab, np.bool_)
        banned[left] = False
        for uniform in (0.0, 0.5, BEFORE_ONE):
            assert sampler.sample(logits, sampling, uniform, banned) == left


def test_a_ban_changes_neither_the_logits_nor_the_mask_nor_a_later_sample() -> None:
    logits, sampler, banned = random_logits(130), Sampler(130), np.arange(130) % 3 > 0
    before = logits.copy(), banned.copy()
    free = [sampler.sample(logits, Sampling(), u / 50) for u in range(50)]
    for way in EVERY_WAY:
        sampler.sample(logits, way, 0.3, banned)
    assert np.array_equal(logits, before[0])
    assert np.array_equal(banned, before[1])
    assert [sampler.sample(logits, Sampling(), u / 50) for u in range(50)] == free


@pytest.mark.parametrize("sampling", [*EVERY_WAY, Sampling(temperature=0)], ids=settings_of)
def test_a_ban_on_every_token_is_refused(sampling: Sampling) -> None:
    with pytest.raises(BadLogits):
        Sampler(130).sample(random_logits(130), sampling, 0.5, np.ones(130, np.bool_))


def test_a_bias_on_one_request_leaves_the_logits_of_others_alone() -> None:
    logits = random_logits(130)
    before = logits.copy()
    sampler = Sampler(130)
    for sampling in EVERY_WAY:
        sampler.sample(logits, sampling, 0.3)
        sampler.logprob(logits, 5, 20)
    assert np.array_equal(logits, before)


@pytest.mark.parametrize("n_vocab", [*SIZES, O200K])
def test_greedy_takes_the_first_of_the_largest(n_vocab: int) -> None:
    logits, sampler = random_logits(n_vocab), Sampler(n_vocab)
    logits[[n_vocab // 2, n_vocab - 1]] = 99
    assert {sampler.sample(logits, Sampling(temperature=0), u) for u in (0.0, 0.5, BEFORE_ONE)} == {
        n_vocab // 2
    }


@pytest.mark.parametrize("temperature", [1e-3, 1e-30])
def test_a_tiny_temperature_is_as_good_as_greedy(temperature: float) -> None:
    logits, sampler = random_logits(1000), Sampler(1000)
    for cuts in (Sampling(temperature), Sampling(temperature, top_p=0.9), Sampling(temperature, min_p=0.1)):
        assert sampler.sample(logits, cuts, 0.9) == logits.argmax()


@pytest.mark.parametrize("sampling", [*EVERY_WAY, Sampling(temperature=0)], ids=settings_of)
@pytest.mark.parametrize("broken", [math.nan, math.inf, None], ids=["one NaN", "one inf", "all -inf"])
def test_logits_that_cannot_be_sampled_are_refused(sampling: Sampling, broken: float | None) -> None:
    logits = random_logits(130) if broken is not None else np.full(130, -np.inf, np.float32)
    if broken is not None:
        logits[50] = broken
    with pytest.raises(BadLogits):
        Sampler(130).sample(logits, sampling, 0.5)
    with pytest.raises(BadLogits):
        Sampler(130).logprob(logits, 0, 5)


def test_a_sample_does_not_depend_on_earlier_ones() -> None:
    sampler = Sampler(1000)
    rows = [random_logits(1000, seed=seed) for seed in range(3)]
    rows.append(np.where(rows[0] > 2, rows[0] + np.float32(5000), -np.inf).astype(np.float32))
    calls = [(row, way, u) for row in rows for way in EVERY_WAY for u in (0.1, 0.5, 0.99)]
    alone = [Sampler(1000).sample(*call) for call in calls]
    with pytest.raises(BadLogits):
        sampler.sample(np.full(1000, np.nan, np.float32), Sampling(), 0.5)
    for i in np.random.default_rng(2).permutation(len(calls)):
        assert sampler.sample(*calls[i]) == alone[i]
        sampler.logprob(calls[i][0], 0, 20)


@pytest.mark.parametrize("top", [0, 1, 5, 20])
@pytest.mark.parametrize("n_vocab", [7, 130, 1000, 10_000, O200K])
def test_log_probabilities_are_those_of_a_softmax_in_float64(n_vocab: int, top: int) -> None:
    logits = random_logits(n_vocab, spread=4) + np.float32(30)
    exactly = logits.astype(np.float64) - np.logaddexp.reduce(logits.astype(np.float64))
    token = n_vocab // 3
    found = Sampler(n_vocab).logprob(logits, token, top)
    assert found.logprob == pytest.approx(exactly[token], abs=2e-5)
    assert [i for i, _ in found.top] == np.argsort(-logits, kind="stable")[:top].tolist()
    assert [value for _, value in found.top] == pytest.approx(np.sort(exactly)[::-1][:top], abs=2e-5)


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        (Sampling(temperature=-0.1), "temperature"),
        (Sampling(temperature=100.1), "temperature"),
        (Sampling(temperature=math.nan), "temperature"),
        (Sampling(top_k=-1), "top_k"),
        (Sampling(top_p=1.1), "top_p"),
        (Sampling(top_p=-0.1), "top_p"),
        (Sampling(min_p=1.1), "min_p"),
        (Sampling(min_p=math.nan), "min_p"),
        (Sampling(seed=-1), "seed"),
        (Sampling(seed=2**64), "seed"),
        (Sampling(logprobs=21), "top_logprobs"),
        (Sampling(logprobs=-1), "top_logprobs"),
    ],
)
def test_a_value_outside_its_range_is_refused_by_its_name(sampling: Sampling, field: str) -> None:
    with pytest.raises(RequestError, match=rf"^{field} is .*, must be "):
        sampling.validate()


def test_the_limits_of_the_ranges_are_allowed() -> None:
    Sampling(temperature=0, top_k=0, top_p=0, min_p=0, seed=0, logprobs=0).validate()
    Sampling(temperature=100, top_k=10**9, top_p=1, min_p=1, seed=2**64 - 1, logprobs=20).validate()
