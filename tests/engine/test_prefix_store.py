"""Shared prefixes that are saved in RAM when no slot holds them any longer."""

from collections.abc import Sequence

import numpy as np
import pytest

from ossctl.engine import prefix_store
from ossctl.engine.engine import Engine
from ossctl.engine.request import Generated, Request, Sampling
from ossctl.runtime.base import Tokens
from tests.support.scripted import ScriptedRunner, expected_answer, run

GREEDY = Sampling(temperature=0)


class Counting(ScriptedRunner):
    """Counts the states that are saved and loaded."""

    n_saved = n_loaded = 0

    def save(self, seq: int) -> bytes:
        self.n_saved += 1
        return super().save(seq)

    def load(self, seq: int, n_tokens: int, state: bytes) -> None:
        self.n_loaded += 1
        super().load(seq, n_tokens, state)


def counting(window: int = 0) -> Counting:
    return Counting(n_seq=2, n_ctx_seq=512, n_batch=64, n_ubatch=64, window=window)


def prompt(n: int, seed: int = 0) -> Tokens:
    return np.random.default_rng(seed).integers(0, 50, n).astype(np.int32)


def answer(engine: Engine, prompts: Sequence[Tokens]) -> list[int]:
    """Answer all together and check the answers; the cached tokens of each prompt."""
    for number, text in enumerate(prompts):
        engine.submit(Request(str(number), text, 3, GREEDY))
    outputs = run(engine)
    cached = []
    for number, text in enumerate(prompts):
        generated = [each for each in outputs[str(number)] if isinstance(each, Generated)]
        assert [each.token for each in generated] == expected_answer(text.tolist(), 3, 50)
        cached.append(generated[-1].cached_tokens)
    return cached


def share_and_evict(engine: Engine, head: Tokens, number: int, *, together: bool = True) -> None:
    """Answer two prompts that start with `head`, then two others that take their slots."""
    prompts = [np.concatenate([head, np.full(9, end, np.int32)]) for end in (1, 2)]
    for group in [prompts] if together else [[each] for each in prompts]:
        answer(engine, group)
    answer(engine, [prompt(40, 1_000 + number), prompt(40, 2_000 + number)])


def test_a_prefix_that_is_hardly_longer_than_a_saved_one_is_not_saved() -> None:
    runner = counting()
    engine = Engine(runner)
    for n_tokens in range(100, 130):
        share_and_evict(engine, prompt(130)[:n_tokens], n_tokens, together=False)
    assert runner.n_saved == 2


@pytest.mark.parametrize("window", [0, 8])
def test_the_number_of_prefixes_has_a_limit(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(prefix_store, "_MAX_PREFIXES", 3)
    engine = Engine(counting(window))
    for number in range(5):
        share_and_evict(engine, prompt(100, number), number)
    assert answer(engine, [np.concatenate([prompt(100, 4), prompt(9, 99)])]) == [100]
    assert answer(engine, [np.concatenate([prompt(100, 0), prompt(9, 99)])]) == [0]


def test_snapshots_count_as_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The states of two such prefixes fit, but not with their snapshots."""
    monkeypatch.setattr(prefix_store, "_MAX_BYTES", 1_100)
    engine = Engine(counting(window=8))
    for number in range(2):
        share_and_evict(engine, prompt(100, number), number)
    assert answer(engine, [np.concatenate([prompt(100, 1), prompt(9, 99)])]) == [100]
    assert answer(engine, [np.concatenate([prompt(100, 0), prompt(9, 99)])]) == [0]


def test_a_prefix_larger_than_the_limit_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_store, "_MAX_BYTES", 1_000)
    engine = Engine(counting())
    share_and_evict(engine, prompt(100, 0), 0)
    share_and_evict(engine, prompt(400, 1), 1)
    assert answer(engine, [np.concatenate([prompt(100, 0), prompt(9, 99)])]) == [100]


def test_a_few_tokens_more_than_a_slot_holds_are_computed_and_not_loaded() -> None:
    runner = counting()
    engine = Engine(runner)
    share_and_evict(engine, prompt(110), 0, together=False)
    answer(engine, [np.concatenate([prompt(110)[:100], np.full(9, 3, np.int32)])])
    runner.n_loaded = 0
    assert answer(engine, [prompt(130)]) == [100]
    assert runner.n_loaded == 0
