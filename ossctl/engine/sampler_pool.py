"""Drawing for all sequences of a step, on several threads where that pays."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ossctl.engine.request import Sampling, TokenLogprob
from ossctl.engine.sampler import BadLogits, Sampler
from ossctl.guide import Guide, GuideFailed
from ossctl.runtime.base import Logits

_MOST_THREADS = 8  # a draw holds the interpreter's lock for about an eighth of its time
_PAYS_FROM = 1_000_000  # logits in all; below, some 1 ms of work, handing it over costs what it saves


@dataclass(frozen=True, slots=True)
class Draw:
    """What a draw depends on: float32 [n_vocab], how to draw, where in [0, 1), and what may come."""

    logits: Logits
    sampling: Sampling
    uniform: float
    guide: Guide | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """The token that was drawn; its log probabilities if they were asked for."""

    token: int
    logprob: TokenLogprob | None


NotDrawn = BadLogits | GuideFailed


class SamplerPool:
    """A sampler a thread. numpy computes outside the interpreter's lock, so they do run at once."""

    def __init__(self, n_vocab: int, n_threads: int) -> None:
        n_threads = max(1, min(n_threads, _MOST_THREADS))
        self._n_vocab = n_vocab
        self._samplers = [Sampler(n_vocab) for _ in range(n_threads)]
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="sampler")

    def draw(self, draws: Sequence[Draw]) -> list[Drawn | NotDrawn]:
        """The results in the order of `draws`, the same on any number of threads."""
        workers = len(self._samplers)
        if workers == 1 or len(draws) * self._n_vocab < _PAYS_FROM:
            return _draw_all(self._samplers[0], draws)
        shares = [draws[worker::workers] for worker in range(workers)]
        results: list[Drawn | NotDrawn] = [BadLogits("not drawn")] * len(draws)
        for worker, share in enumerate(self._threads.map(_draw_all, self._samplers, shares)):
            results[worker::workers] = share
        return results


def _draw_all(sampler: Sampler, draws: Sequence[Draw]) -> list[Drawn | NotDrawn]:
    return [_draw(sampler, draw) for draw in draws]


def _draw(sampler: Sampler, draw: Draw) -> Drawn | NotDrawn:
    try:
        token = _guided(sampler, draw)
        wanted = draw.sampling.logprobs
        return Drawn(token, None if wanted is None else sampler.logprob(draw.logits, token, wanted))
    except (BadLogits, GuideFailed) as error:
        return error


def _guided(sampler: Sampler, draw: Draw) -> int:
    banned = None
    if draw.guide is not None:
        if forced := draw.guide.forced():
            return forced[0]
        banned = draw.guide.banned()
    return sampler.draw(draw.logits, draw.sampling, draw.uniform, banned)
