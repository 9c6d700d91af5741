"""Sampling tokens from logits with numpy, without sorting the vocabulary or looping over it.

A sample takes one exponential per entry, partial sums over 128 entries each, and two binary searches: in the
cumulative partial sums, then inside one of them.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ossctl.engine.history import History
from ossctl.engine.request import Sampling, TokenLogprob
from ossctl.guide import Banned
from ossctl.runtime.base import Logits

_GROUP = 128  # entries per partial sum; other sizes near this one cost about the same

# Summing exp(logit) without subtracting the maximum saves two passes over the vocabulary. It is safe as long
# as the total is far from float32's limits (1e-38, 3e38), so that no entry that matters is lost.
_TOTAL_MIN, _TOTAL_MAX = 1e-10, 1e30

_GREEDY_BELOW = 1e-5  # a temperature that leaves all weight to the top token, while 1 / t is still finite

_NOT_FINITE = "the model's logits are not finite"

_Floats = npt.NDArray[np.float32]
_Totals = npt.NDArray[np.float64]
_Ids = npt.NDArray[np.intp]


class BadLogits(Exception):
    """The logits cannot be sampled from: they are not finite, or every token is banned."""


class Sampler:
    """Samples from rows of logits, float32 [n_vocab]. Owns its buffers: use it from one thread at a time."""

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        self._columns = -(-n_vocab // _GROUP)
        padded = np.zeros(self._columns * _GROUP, np.float32)  # the padding keeps weight 0
        self._weights = padded[:n_vocab]
        self._grid = padded.reshape(_GROUP, self._columns)
        self._sums = np.empty(self._columns, np.float32)
        self._adjusted = np.empty(n_vocab, np.float32)

    def sample(
        self,
        logits: Logits,
        sampling: Sampling,
        uniform: float,
        banned: Banned | None = None,
        history: History | None = None,
    ) -> int:
        """Sample a token, selected by `uniform` in [0, 1) (inverse transform). `banned` tokens are excluded.

        Raises BadLogits.
        """
        row = self.adjust(logits, sampling.logit_bias, banned, history)
        if sampling.temperature < _GREEDY_BELOW:
            return _greedy(row)
        if sampling.top_n_sigma:
            row = self._copy(row)
            _cut_below_sigmas(row, sampling.top_n_sigma)
        exclude = history is not None and history.excludes_top_choices
        if sampling.top_k or sampling.top_p < 1 or sampling.min_p > 0:
            ids, weights = self._candidates(row, sampling)
            if exclude:
                weights[_top_choices(weights, sampling.xtc_threshold)] = 0
            return int(ids[_search(weights, uniform)])
        if exclude:
            row = self._without_top_choices(row, sampling)
        return self._sample_from_all(row, sampling.temperature, uniform)

    def adjust(
        self,
        logits: Logits,
        logit_bias: Mapping[int, float],
        banned: Banned | None = None,
        history: History | None = None,
    ) -> Logits:
        """`logits` with bias and penalties, and banned tokens at -inf. Valid until the next call."""
        if not logit_bias and banned is None and history is None:
            return logits
        row = self._copy(logits)
        if logit_bias:
            row[list(logit_bias)] += np.fromiter(logit_bias.values(), np.float32)
        if history is not None:
            history.penalise(row)
        if banned is not None:
            row[banned] = -np.inf
        return row

    def logprob(self, logits: Logits, token: int, top: int) -> TokenLogprob:
        """Log probabilities of `token` and of the `top` most likely tokens, in descending order."""
        highest = _highest(logits)
        total = self._weigh(logits, 1.0, highest)[-1]
        normaliser = float(highest) + math.log(total)
        ids = _largest(logits, top) if top else np.empty(0, np.intp)
        ranked = ids[np.argsort(-logits[ids], kind="stable")]
        most_likely = tuple((int(i), float(logits[i]) - normaliser) for i in ranked)
        return TokenLogprob(float(logits[token]) - normaliser, most_likely)

    def _copy(self, row: _Floats) -> _Floats:
        """`row` where it can be changed."""
        if row is not self._adjusted:
            np.copyto(self._adjusted, row)
        return self._adjusted

    def _without_top_choices(self, row: _Floats, sampling: Sampling) -> _Floats:
        self._weigh(row, sampling.temperature, _highest(row))
        top = _top_choices(self._weights, sampling.xtc_threshold)
        row = self._copy(row)
        row[top] = -np.inf
        return row

    def _sample_from_all(self, row: _Floats, temperature: float, uniform: float) -> int:
        cumulative = self._weigh(row, temperature, np.float32(0))
        if not _TOTAL_MIN < cumulative[-1] < _TOTAL_MAX:
            cumulative = self._weigh(row, temperature, _highest(row))
        column = _locate(cumulative, uniform)
        before = cumulative[column - 1] if column else 0.0
        inside = float((uniform * cumulative[-1] - before) / self._sums[column])
        return _search(self._grid[:, column], min(max(inside, 0.0), 1.0)) * self._columns + column

    def _weigh(self, row: _Floats, temperature: float, shift: np.float32) -> _Totals:
        """Compute weights exp((logit - shift) / temperature); return their cumulative column sums."""
        weights = self._weights
        with np.errstate(over="ignore", invalid="ignore"):
            if shift:
                row = np.subtract(row, shift, out=weights)
            if temperature != 1:
                row = np.multiply(row, np.float32(1 / temperature), out=weights)
            np.exp(row, out=weights)
            np.add.reduce(self._grid, axis=0, out=self._sums)
            return np.cumsum(self._sums, dtype=np.float64)

    def _candidates(self, row: _Floats, sampling: Sampling) -> tuple[_Ids, _Floats]:
        """The tokens that pass top_k, top_p and min_p, and their weights."""
        highest = _highest(row)
        if sampling.top_k:
            ids = _largest(row, sampling.top_k)
            weights = _weights(row[ids], highest, sampling.temperature)
            if sampling.top_p < 1:
                ids, weights = _nucleus(ids, weights, sampling.top_p * float(weights.sum(dtype=np.float64)))
        elif sampling.top_p < 1:
            ids, weights = self._nucleus_of_all(row, sampling, highest)
        else:
            lowest = highest + np.float32(sampling.temperature * math.log(sampling.min_p))
            ids = np.flatnonzero(row >= lowest)
            return ids, _weights(row[ids], highest, sampling.temperature)
        kept = weights >= sampling.min_p
        return ids[kept], weights[kept]

    def _nucleus_of_all(self, row: _Floats, sampling: Sampling, highest: np.float32) -> tuple[_Ids, _Floats]:
        """Nucleus sampling over the whole vocabulary, sorting only the most likely tokens."""
        needed = sampling.top_p * float(self._weigh(row, sampling.temperature, highest)[-1])
        distance = 8.0  # the nucleus rarely has a token below e^-8 of the most likely one
        while True:
            ids = np.flatnonzero(self._weights >= math.exp(-distance))
            weights = self._weights[ids]
            if distance > 100 or float(weights.sum(dtype=np.float64)) >= needed:
                return _nucleus(ids, weights, needed)
            distance *= 2


def _cut_below_sigmas(row: _Floats, n_sigmas: float) -> None:
    """Top-n-sigma: ban tokens more than n standard deviations of all allowed logits below the highest.

    Defined in arXiv:2411.07641.
    """
    highest = _highest(row)
    allowed = row if row.min() > -np.inf else row[row > -np.inf]
    with np.errstate(over="ignore", invalid="ignore"):  # then nothing is cut
        row[row < highest - np.float32(n_sigmas) * allowed.std()] = -np.inf


def _top_choices(weights: _Floats, threshold: float) -> _Ids:
    """XTC: the tokens with at least the probability `threshold`, except for the least likely of them.

    Defined in pull request 6335 of text-generation-webui.
    """
    likely = np.flatnonzero(weights >= threshold * weights.sum(dtype=np.float64))
    ranked = likely[np.argsort(-weights[likely], kind="stable")]
    return ranked[:-1]


def _weights(logits: _Floats, highest: np.float32, temperature: float) -> _Floats:
    """The weights of tokens, of which the most likely one has 1 and those that are too unlikely 0."""
    with np.errstate(over="ignore"):
        weights: _Floats = np.exp((logits - highest) / np.float32(temperature))
    return weights


def _greedy(row: _Floats) -> int:
    token = int(row.argmax())
    if not math.isfinite(row[token]):
        raise BadLogits(_NOT_FINITE)
    return token


def _highest(row: _Floats) -> np.float32:
    highest: np.float32 = row.max()
    if not math.isfinite(highest):
        raise BadLogits(_NOT_FINITE)
    return highest


def _search(weights: _Floats, uniform: float) -> int:
    """The index at the fraction `uniform` of the cumulative weight; never one of weight 0."""
    return _locate(np.cumsum(weights, dtype=np.float64), uniform)


def _locate(cumulative: _Totals, uniform: float) -> int:
    total = cumulative[-1]
    if not 0 < total < math.inf:
        raise BadLogits("the model's logits leave no token to sample")
    index = int(cumulative.searchsorted(uniform * total, side="right"))
    if index == len(cumulative):  # `uniform` rounds to 1
        index = int(cumulative.searchsorted(total, side="left"))
    return index


def _nucleus(ids: _Ids, weights: _Floats, needed: float) -> tuple[_Ids, _Floats]:
    """The fewest tokens whose weights sum to `needed`; at least one."""
    order = np.argsort(-weights, kind="stable")
    cumulative = np.cumsum(weights[order], dtype=np.float64)
    kept = order[: int(cumulative.searchsorted(needed)) + 1]
    return ids[kept], weights[kept]


def _largest(row: _Floats, count: int) -> _Ids:
    """Indices of the `count` largest entries, unordered.

    The count-th largest maximum of disjoint groups is a lower bound for all of them, so only entries that
    reach it need partitioning.
    """
    if count >= len(row):
        return np.arange(len(row))
    columns = len(row) // _GROUP
    if columns <= count:
        return np.argpartition(row, -count)[-count:]
    maxima = row[: columns * _GROUP].reshape(_GROUP, columns).max(axis=0)
    bound = np.partition(maxima, -count)[-count]
    ids = np.flatnonzero(row >= bound)
    return ids[np.argpartition(row[ids], -count)[-count:]]
