"""DRY: penalises the tokens that would continue a repetition of earlier text.

Defined in pull request 5677 of text-generation-webui; windows and breakers are as in llama.cpp.
"""

import math

import numpy as np
import numpy.typing as npt

from ossctl.engine.breakers import Breakers
from ossctl.engine.request import Sampling
from ossctl.runtime.base import Logits, Tokens

_MOST = float(np.finfo(np.float32).max)  # a penalty that no logit makes up for
# llama.cpp keeps base ** n within float32: no exponent above the logarithm of its largest number.
_MAX_LOG = 88.7228391
_LEAST_BASE = 1.000001  # up to here, the penalty does not grow

_Places = npt.NDArray[np.intp]


class DryPenalties:
    """The tokens of a sequence, and penalties for those that would make a repetition of its end longer.

    After a repetition of n >= allowed_length tokens, the next token of the earlier occurrence loses
    multiplier * base ** (n - allowed_length) of its logit. No repetition extends over a breaker.
    """

    def __init__(self, sampling: Sampling, breakers: Breakers, prompt: Tokens) -> None:
        self._multiplier = min(sampling.dry_multiplier, _MOST)
        self._base = sampling.dry_base
        self._allowed = sampling.dry_allowed_length
        self._window = sampling.dry_penalty_last_n
        self._breakers = breakers
        self._size = len(prompt)
        self._tokens = np.concatenate([prompt, np.zeros(self._size + 64, np.int32)])
        self._break = breakers.latest(prompt)
        grows = self._base > _LEAST_BASE
        self._max_exponent = int(_MAX_LOG / math.log(self._base)) if grows else 2**31

    def accept(self, token: int) -> None:
        """Add the next token."""
        if self._size == len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.zeros_like(self._tokens)])
        self._tokens[self._size] = token
        self._size += 1
        self._break = max(self._break, self._breakers.ending(self._tokens[: self._size]))

    def apply(self, row: Logits) -> None:
        """Change `row`, float32 [n_vocab], in place."""
        start = 0 if self._window == -1 else max(0, self._size - self._window)
        longest = min(self._size - self._end_of_break(start), self._allowed + self._max_exponent)
        if longest < self._allowed:
            return
        tokens = self._tokens[start : self._size]
        ends, lengths = _repeats(tokens, longest)
        long = lengths >= self._allowed
        following, which = np.unique(tokens[ends[long] + 1], return_inverse=True)
        repeated = np.zeros(len(following))
        np.maximum.at(repeated, which, lengths[long])
        penalties = self._multiplier * self._base ** (repeated - self._allowed)
        penalties[[token in self._breakers.single for token in following.tolist()]] = 0
        row[following] -= np.minimum(penalties, _MOST).astype(np.float32)

    def _end_of_break(self, start: int) -> int:
        """Where the latest breaker ends, or `start` if it begins before that."""
        begin, length = self._break
        return begin + length if begin >= start else start


def _repeats(tokens: Tokens, longest: int) -> tuple[_Places, _Places]:
    """Where earlier occurrences of the last tokens end, and how many tokens each has, at most `longest`."""
    ends = np.flatnonzero(tokens[:-1] == tokens[-1:])
    lengths = np.ones(len(ends), np.intp)
    alive = np.arange(len(ends))
    for length in range(1, longest):
        before = ends[alive] - length
        alive = alive[(before >= 0) & (tokens[before] == tokens[-1 - length])]
        if not len(alive):
            break
        lengths[alive] += 1
    return ends, lengths
