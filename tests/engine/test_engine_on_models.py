"""The engine over llama.cpp: batching, sharing and a small cache change no answer."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ossctl.engine.engine import Engine
from ossctl.engine.request import Output, Request, Sampling
from ossctl.runtime.base import Chunk
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from tests.support.scripted import run, tokens_of

Ids = npt.NDArray[np.int32]
FLASH = pytest.mark.parametrize("flash_attention", [False, True], ids=["plain", "flash attention"])

TEXTS = [
    "The capital of France is",
    "Water boils at a temperature of",
    "The three primary colours are",
    "Once upon a time, in a small village,",
    "def fibonacci(n):",
    "The best way to learn a language is to",
    "In 1969, the first man",
    "Dear Sir or Madam,",
    "The largest planet of the solar system is",
    "Photosynthesis is the process by which",
    "A recipe for pancakes: first,",
    "My favourite book is",
    "To be or not to be,",
    "The quick brown fox",
    "Roses are red,",
    "If you want to make a good cup of tea,",
]


def answers(
    model: LlamaModel, prompts: list[Ids], n_tokens: int, **options: Any
) -> tuple[list[list[int]], Engine]:
    with LlamaRunner(model, ContextOptions(**options)) as runner:
        engine = Engine(runner)
        for number, prompt in enumerate(prompts):
            engine.submit(Request(str(number), prompt, n_tokens, Sampling(temperature=0)))
        outputs = run(engine)
        return [tokens_of(outputs[str(number)]) for number in range(len(prompts))], engine


def assert_same_but_for_ties(model: LlamaModel, prompt: Ids, got: list[int], expected: list[int]) -> None:
    """Equal, or diverging at a token whose two best logits tie within float noise."""
    parted = next((i for i, (a, b) in enumerate(zip(got, expected, strict=True)) if a != b), None)
    if parted is None:
        return
    with LlamaRunner(model, ContextOptions(n_ctx=1024)) as runner:
        ids = np.concatenate([prompt, np.array(expected[:parted], np.int32)])
        row = runner.decode([Chunk(0, ids, wants_logits=True)])[0]
        difference = float(row[expected[parted]] - row[got[parted]])
        scale = float(row.max() - row.mean())
    assert abs(difference) < 0.02 * scale, (parted, difference, scale)


def test_a_batch_of_16_equals_the_same_prompts_one_by_one(smol: LlamaModel) -> None:
    prompts = [np.array(smol.vocab.tokenize(text), np.int32) for text in TEXTS]
    together, _ = answers(smol, prompts, 24, n_ctx=256, n_seq=16)
    for prompt, batched in list(zip(prompts, together, strict=True))[::3]:
        (alone,), _ = answers(smol, [prompt], 24, n_ctx=256)
        assert_same_but_for_ties(smol, prompt, batched, alone)


@pytest.mark.parametrize(
    ("unified", "flash_attention"),
    [
        pytest.param(False, False, id="streams, plain", marks=pytest.mark.slow),
        pytest.param(False, True, id="streams, flash attention"),
        pytest.param(True, False, id="unified, plain", marks=pytest.mark.slow),
        pytest.param(True, True, id="unified, flash attention", marks=pytest.mark.slow),
    ],
)
def test_shared_prefixes_change_no_answer_with_a_window(
    gpt_oss: LlamaModel, unified: bool, flash_attention: bool
) -> None:
    rng = np.random.default_rng(3)
    prefix = rng.integers(0, 256, 300, dtype=np.int32)
    tails = [np.concatenate([[n], rng.integers(0, 256, 20)]).astype(np.int32) for n in range(10)]
    prompts = [np.concatenate([prefix, tail]) for tail in tails]
    n_ctx = 512 * (4 if unified else 1)
    mode = {"unified": unified, "flash_attention": flash_attention}
    shared, engine = answers(gpt_oss, prompts, 150, n_ctx=n_ctx, n_seq=4, **mode)
    assert engine.stats.prompt_tokens == 300 + 10 * 21
    for prompt, batched in list(zip(prompts, shared, strict=True))[::3]:
        (alone,), _ = answers(gpt_oss, [prompt], 150, n_ctx=512, flash_attention=flash_attention)
        assert_same_but_for_ties(gpt_oss, prompt, batched, alone)


def test_shared_prefixes_change_no_answer_without_a_window(smol: LlamaModel) -> None:
    prefix = "You are a patient teacher who explains things in a few simple words. " * 3
    prompts = [np.array(smol.vocab.tokenize(prefix + text), np.int32) for text in TEXTS[:6]]
    shared, engine = answers(smol, prompts, 16, n_ctx=256, n_seq=3)
    assert engine.stats.cached_tokens > 4 * 40
    for prompt, batched in list(zip(prompts, shared, strict=True))[::2]:
        (alone,), _ = answers(smol, [prompt], 16, n_ctx=256)
        assert_same_but_for_ties(smol, prompt, batched, alone)


def test_a_cache_too_small_for_all_still_answers_all(gpt_oss: LlamaModel) -> None:
    rng = np.random.default_rng(4)
    prompts = [rng.integers(0, 256, 60, dtype=np.int32) for _ in range(8)]
    crowded, engine = answers(gpt_oss, prompts, 150, n_ctx=256, n_seq=8, unified=True)
    assert engine.stats.recomputed_tokens > 0
    for prompt, answer in zip(prompts[::3], crowded[::3], strict=True):
        (alone,), _ = answers(gpt_oss, [prompt], 150, n_ctx=256)
        assert_same_but_for_ties(gpt_oss, prompt, answer, alone)


def test_a_shared_cache_runs_many_short_requests_and_few_beside_a_long_one(
    gpt_oss: LlamaModel,
) -> None:
    rng = np.random.default_rng(6)
    prompts = [rng.integers(0, 256, 450 if n == 40 else 20, dtype=np.int32) for n in range(80)]
    among_short, beside_long = 0, 0
    outputs: dict[str, list[Output]] = {}
    with LlamaRunner(gpt_oss, ContextOptions(n_ctx=512, n_seq=32, n_ubatch=128, unified=True)) as runner:
        engine = Engine(runner)
        for number, prompt in enumerate(prompts):
            engine.submit(Request(str(number), prompt, 10, Sampling(temperature=0)))
        while engine.busy:
            for output in engine.step():
                outputs.setdefault(output.id, []).append(output)
            running = [name for name, _ in engine.running()]
            if "40" in running:
                beside_long = max(beside_long, len(running) - 1)
            else:
                among_short = max(among_short, len(running))
    assert among_short >= 12
    assert beside_long <= 2
    for number in (0, 39, 40, 41, 79):
        (alone,), _ = answers(gpt_oss, [prompts[number]], 10, n_ctx=512)
        assert_same_but_for_ties(gpt_oss, prompts[number], tokens_of(outputs[str(number)]), alone)


@FLASH
@pytest.mark.parametrize("unified", [False, True], ids=["streams", "unified"])
def test_an_evicted_shared_prefix_is_restored_and_changes_no_answer(
    gpt_oss: LlamaModel, unified: bool, flash_attention: bool
) -> None:
    rng = np.random.default_rng(5)
    prefix = rng.integers(0, 256, 300, dtype=np.int32)
    with_prefix = [np.concatenate([prefix, rng.integers(0, 256, 20, dtype=np.int32)]) for _ in range(5)]
    others = [rng.integers(0, 256, 300, dtype=np.int32) for _ in range(3)]
    prompts = [*with_prefix[:3], *others, *with_prefix[3:]]
    came, computed = [], []
    options = ContextOptions(n_ctx=512, n_seq=2, unified=unified, flash_attention=flash_attention)
    with LlamaRunner(gpt_oss, options) as runner:
        engine = Engine(runner)
        for number, prompt in enumerate(prompts):  # one at a time: each takes the least recently used slot
            before = engine.stats.prompt_tokens
            engine.submit(Request(str(number), prompt, 40, Sampling(temperature=0)))
            came.append(tokens_of(run(engine)[str(number)]))
            computed.append(engine.stats.prompt_tokens - before)
    assert computed[-2:] == [20, 20]
    for number in (2, 6, 7):  # the prefix was shared, and restored twice
        (alone,), _ = answers(gpt_oss, [prompts[number]], 40, n_ctx=512, flash_attention=flash_attention)
        assert_same_but_for_ties(gpt_oss, prompts[number], came[number], alone)
