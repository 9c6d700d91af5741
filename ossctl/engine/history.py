"""What sampling needs to know of a sequence beyond its next logits."""

from typing import Protocol

import numpy as np

from ossctl.engine.breakers import Breakers
from ossctl.engine.dry import DryPenalties
from ossctl.engine.penalties import CountPenalties
from ossctl.engine.request import Request, Sampling
from ossctl.runtime.base import Logits, Tokens


class _Penalties(Protocol):
    def accept(self, token: int) -> None: ...
    def apply(self, row: Logits) -> None: ...


class History:
    """The penalties of one sequence, and XTC's random numbers, which are independent of its samples'."""

    def __init__(self, sampling: Sampling, prompt: Tokens, breakers: Breakers) -> None:
        self._penalties: list[_Penalties] = []
        if sampling.counts_tokens:
            self._penalties.append(CountPenalties(sampling, prompt))
        if sampling.dry_multiplier:
            self._penalties.append(DryPenalties(sampling, breakers, prompt))
        self._probability = sampling.xtc_probability
        self._random = np.random.Generator(np.random.Philox(sampling.seed).jumped())
        self.excludes_top_choices = self._chance()

    def accept(self, token: int) -> None:
        """Add a generated token."""
        for penalty in self._penalties:
            penalty.accept(token)
        self.excludes_top_choices = self._chance()

    def penalise(self, row: Logits) -> None:
        """Apply the penalties to `row`, float32 [n_vocab], in place."""
        for penalty in self._penalties:
            penalty.apply(row)

    def _chance(self) -> bool:
        return self._probability > 0 and self._random.random() < self._probability


def history_of(request: Request) -> History | None:
    """The history of a new sequence; None if its sampling needs none."""
    sampling = request.sampling
    if not (sampling.counts_tokens or sampling.dry_multiplier or sampling.xtc_probability):
        return None
    return History(sampling, request.prompt, request.breakers)
