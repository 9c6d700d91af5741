"""Drafts over llama.cpp: rows of logits, rollbacks, and answers that are those without drafts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ossctl.engine.drafts import DraftOptions
from ossctl.engine.engine import Engine
from ossctl.engine.request import FinishReason, Generated, Request, Sampling, TokenLogprob
from ossctl.runtime.base import Chunk
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from tests.engine.test_engine_on_models import assert_same_but_for_ties
from tests.support.scripted import run

Answer = list[tuple[int, TokenLogprob | None, FinishReason | None]]

# Attention that computes each token of a decode as it would alone, in every build of llama.cpp.
EXACT: dict[str, Any] = {"flash_attention": True, "kv_type": "q8_0"}
TEXT = "def area(a, b):\n    return a * b\n\n\ndef volume(area, depth):\n    return area * depth\n"


def test_a_chunk_with_a_draft_returns_a_row_for_each_token(smol: LlamaModel) -> None:
    tokens = np.array(smol.vocab.tokenize(TEXT * 2), np.int32)
    with LlamaRunner(smol, ContextOptions(n_ctx=256, n_outputs=5, **EXACT)) as runner:
        runner.decode([Chunk(0, tokens[:20], wants_logits=False)])
        rows = runner.decode([Chunk(0, tokens[20:24], wants_logits=True, n_logits=4)]).copy()
        runner.rollback(0, 20)
        alone = [
            runner.decode([Chunk(0, tokens[n : n + 1], wants_logits=True)])[0].copy() for n in range(20, 24)
        ]
        assert rows.shape == (4, runner.n_vocab)
        assert (rows == np.array(alone)).all()
        with pytest.raises(ValueError, match="6 rows of logits exceed the 5"):
            runner.decode([Chunk(0, tokens[24:30], wants_logits=True, n_logits=6)])


def answers(
    model: LlamaModel, requests: list[Request], drafts: DraftOptions | None, **options: Any
) -> tuple[list[Answer], Engine]:
    with LlamaRunner(
        model, ContextOptions(n_outputs=options.get("n_seq", 1) + 15, n_threads=1, **EXACT, **options)
    ) as runner:
        engine = Engine(runner, drafts=drafts)
        for request in requests:
            engine.submit(request)
        outputs = run(engine)
    found = [
        [
            (token.token, token.logprob, token.finish)
            for token in outputs[request.id]
            if isinstance(token, Generated)
        ]
        for request in requests
    ]
    return found, engine


@pytest.mark.parametrize("temperature", [0, 1])
def test_copied_text_takes_few_decodes_and_stays_the_same(smol: LlamaModel, temperature: float) -> None:
    prompt = np.array(smol.vocab.tokenize(TEXT * 2 + TEXT[:30]), np.int32)
    request = Request("a", prompt, 30, Sampling(temperature=temperature, seed=3, logprobs=2))
    requests = [replace(request, id=name) for name in "abc"]  # the first prove that kernels are exact
    expected, plain = answers(smol, requests, None, n_ctx=256)
    found, drafting = answers(smol, requests, DraftOptions(), n_ctx=256)
    assert found == expected
    assert drafting.stats.steps <= plain.stats.steps - drafting.stats.accepted_tokens + 1
    assert drafting.stats.accepted_tokens >= (10 if temperature == 0 else 0)


@pytest.mark.parametrize("unified", [False, True], ids=["streams", "unified"])
def test_rejected_tokens_leave_a_sliding_window_whole(gpt_oss: LlamaModel, unified: bool) -> None:
    rng = np.random.default_rng(8)
    parts = [rng.integers(0, 256, 60, dtype=np.int32) for _ in range(3)]
    prompts = [np.tile(part, 4)[: 150 + 20 * n] for n, part in enumerate(parts)]
    requests = [Request(str(n), prompt, 60, Sampling(temperature=0)) for n, prompt in enumerate(prompts)]
    options = {"n_ctx": 512 * (3 if unified else 1), "n_seq": 3, "n_ubatch": 64, "unified": unified}
    found, engine = answers(gpt_oss, requests, DraftOptions(7, fixed=True), **options)
    assert engine.stats.drafted_tokens > engine.stats.accepted_tokens
    assert engine.stats.recomputed_tokens == 0
    for request, answer in zip(requests, found, strict=True):
        (alone,), _ = answers(gpt_oss, [request], None, n_ctx=512)
        tokens, expected = ([token for token, _, _ in each] for each in (answer, alone))
        assert_same_but_for_ties(gpt_oss, request.prompt, tokens, expected)
