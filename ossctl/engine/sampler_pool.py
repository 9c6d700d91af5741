"""Sampling for all sequences of a step, on several threads where that pays."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ossctl.engine.history import History
from ossctl.engine.request import Sampling, TokenLogprob
from ossctl.engine.sampler import BadLogits, Sampler
from ossctl.guide import Banned, Guide, GuideFailed
from ossctl.runtime.base import Logits

_MAX_THREADS = 8  # sampling holds the interpreter's lock for about an eighth of its time
_MIN_PARALLEL = 1_000_000  # logits; with fewer, some 1 ms of work, threads cost what they save


@dataclass(frozen=True, slots=True)
class SampleJob:
    """What a sample depends on: `logits` float32 [n_vocab], `uniform` in [0, 1).

    `withheld` tokens must not be sampled, unless the guide allows no other.
    """

    logits: Logits
    sampling: Sampling
    uniform: float
    guide: Guide | None = None
    history: History | None = None
    withheld: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sampled or forced token. `logprob` is None unless it was asked for."""

    token: int
    logprob: TokenLogprob | None


SampleError = BadLogits | GuideFailed


class SamplerPool:
    """One sampler per thread. They run in parallel because numpy releases the interpreter's lock."""

    def __init__(self, n_vocab: int, n_threads: int) -> None:
        n_threads = max(1, min(n_threads, _MAX_THREADS))
        self._n_vocab = n_vocab
        self._samplers = [Sampler(n_vocab) for _ in range(n_threads)]
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="sampler")

    def sample(self, jobs: Sequence[SampleJob]) -> list[Sampled | SampleError]:
        """Results in the order of `jobs`. They do not depend on the number of threads."""
        workers = len(self._samplers)
        if workers == 1 or len(jobs) * self._n_vocab < _MIN_PARALLEL:
            return _sample_all(self._samplers[0], jobs)
        shares = [jobs[worker::workers] for worker in range(workers)]
        results: list[Sampled | SampleError] = [BadLogits("not sampled")] * len(jobs)
        for worker, share in enumerate(self._threads.map(_sample_all, self._samplers, shares)):
            results[worker::workers] = share
        return results


def _sample_all(sampler: Sampler, jobs: Sequence[SampleJob]) -> list[Sampled | SampleError]:
    return [_sample(sampler, job) for job in jobs]


def _sample(sampler: Sampler, job: SampleJob) -> Sampled | SampleError:
    try:
        token = _guided(sampler, job)
        top = job.sampling.logprobs
        return Sampled(token, None if top is None else sampler.logprob(job.logits, token, top))
    except (BadLogits, GuideFailed) as error:
        return error


def _guided(sampler: Sampler, job: SampleJob) -> int:
    banned = None
    if job.guide is not None:
        if forced := job.guide.forced():
            return forced[0]
        banned = job.guide.banned()
    if job.withheld:
        banned = _with(banned, job.withheld)
    return sampler.sample(job.logits, job.sampling, job.uniform, banned, job.history)


def _with(banned: Banned | None, withheld: Collection[int]) -> Banned:
    """`banned` and `withheld`, or `banned` alone if the two leave no token."""
    ids = np.fromiter(withheld, np.intp)
    if banned is None:
        return ids
    if banned.dtype != np.bool_:
        return np.concatenate([banned, ids])
    both: Banned = banned.copy()
    both[ids] = True
    return banned if both.all() else both
