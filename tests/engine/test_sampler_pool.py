"""Sampling on several threads."""

import numpy as np
import pytest

from ossctl.engine.request import Sampling
from ossctl.engine.sampler import BadLogits, Sampler
from ossctl.engine.sampler_pool import Sampled, SampleJob, SamplerPool

N_VOCAB = 201_088


def jobs(n: int) -> list[SampleJob]:
    rng = np.random.default_rng(5)
    kinds = [
        Sampling(),
        Sampling(top_p=0.9),
        Sampling(logit_bias={7: 50}, logprobs=3),
        Sampling(temperature=0),
    ]
    rows = rng.standard_normal((n, N_VOCAB), dtype=np.float32) * 3
    return [SampleJob(row, kinds[i % 4], float(rng.random())) for i, row in enumerate(rows)]


@pytest.mark.parametrize("n_threads", [0, 1, 3, 100])
def test_any_number_of_threads_samples_what_one_sampler_does(n_threads: int) -> None:
    sampler, wanted = Sampler(N_VOCAB), jobs(13)
    alone = [sampler.sample(job.logits, job.sampling, job.uniform) for job in wanted]
    results = SamplerPool(N_VOCAB, n_threads).sample(wanted)
    assert [result.token for result in results if isinstance(result, Sampled)] == alone
    assert [i for i, r in enumerate(results) if isinstance(r, Sampled) and r.logprob] == [2, 6, 10]


def test_a_row_of_nan_fails_alone() -> None:
    wanted = jobs(8)
    wanted[3] = SampleJob(np.full(N_VOCAB, np.nan, np.float32), Sampling(), 0.5)
    results = SamplerPool(N_VOCAB, 2).sample(wanted)
    assert [isinstance(result, BadLogits) for result in results] == [i == 3 for i in range(8)]
