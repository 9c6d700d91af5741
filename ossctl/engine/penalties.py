"""Penalties for tokens that a sequence has already."""

import numpy as np

from ossctl.engine.request import Sampling
from ossctl.runtime.base import Logits, Tokens

_INITIAL_CAPACITY = 64  # distinct tokens

# The effect of stronger repetition penalties is the same, but float32 would overflow.
_WEAKEST, _STRONGEST = 1e-12, 1e12


class CountPenalties:
    """Repetition, frequency and presence penalties. They touch only the logits of tokens seen so far.

    `repetition_penalty` is that of Hugging Face and vLLM: it divides positive logits of tokens in the prompt
    or the answer, and multiplies negative ones. `frequency_penalty` and `presence_penalty` are OpenAI's: the
    logit of a token in the answer then loses `count * frequency_penalty + presence_penalty`.
    """

    def __init__(self, sampling: Sampling, prompt: Tokens) -> None:
        self._frequency = sampling.frequency_penalty
        self._presence = sampling.presence_penalty
        self._repetition = np.float32(min(max(sampling.repetition_penalty, _WEAKEST), _STRONGEST))
        seen = np.unique(prompt) if sampling.repetition_penalty != 1 else prompt[:0]
        self._size = len(seen)
        self._ids = np.zeros(max(_INITIAL_CAPACITY, 2 * self._size), np.intp)
        self._ids[: self._size] = seen
        self._amounts = np.zeros(len(self._ids), np.float32)
        self._places = {token: place for place, token in enumerate(seen.tolist())}
        self._counts = [0] * self._size

    def accept(self, token: int) -> None:
        """Count a generated token."""
        place = self._places.setdefault(token, self._size)
        if place == self._size:
            self._append(token)
        self._counts[place] += 1
        self._amounts[place] = self._counts[place] * self._frequency + self._presence

    def apply(self, row: Logits) -> None:
        """Change `row`, float32 [n_vocab], in place."""
        ids = self._ids[: self._size]
        logits = row[ids]
        if self._repetition != 1:
            logits = np.where(logits > 0, logits / self._repetition, logits * self._repetition)
        row[ids] = logits - self._amounts[: self._size]

    def _append(self, token: int) -> None:
        if self._size == len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
            self._amounts = np.concatenate([self._amounts, np.zeros_like(self._amounts)])
        self._ids[self._size] = token
        self._counts.append(0)
        self._size += 1
