"""The engine over a scripted runner: scheduling, sharing, full caches, failures."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.engine.engine import Engine
from ossctl.engine.request import Failed, FinishReason, Generated, Request, Sampling
from ossctl.engine.sampler import Sampler
from ossctl.errors import RequestError
from ossctl.runtime.base import DecodeFailed
from tests.support.scripted import ScriptedRunner, expected_answer, logits_after, run, tokens_of

GREEDY = Sampling(temperature=0)


def request(name: str, prompt: Sequence[int], n_tokens: int = 5, sampling: Sampling = GREEDY) -> Request:
    return Request(name, np.array(prompt, np.int32), n_tokens, sampling)


def submit_all(engine: Engine, prompts: list[list[int]], lengths: list[int]) -> None:
    """Submit them with their numbers as ids: a third without a conversation, the others in two."""
    for n, (prompt, n_tokens) in enumerate(zip(prompts, lengths, strict=True)):
        engine.submit(replace(request(str(n), prompt, n_tokens), conversation=("", "a", "b")[n % 3]))


def prompt_of(*parts: tuple[int, int]) -> list[int]:
    """`(seed, n)` parts of random tokens: equal seeds make equal prefixes."""
    return [int(t) for seed, n in parts for t in np.random.default_rng(seed).integers(0, 50, n)]


@st.composite
def workloads(draw: st.DrawFn) -> tuple[ScriptedRunner, list[list[int]], list[int]]:
    unified = draw(st.booleans())
    runner = ScriptedRunner(
        n_seq=draw(st.integers(1, 5)),
        n_batch=draw(st.integers(5, 40)),
        n_ctx_seq=90,
        unified=unified,
        n_cells=draw(st.integers(90, 300)) if unified else 0,
        window=draw(st.sampled_from([0, 0, 20])),
    )
    prefixes = [prompt_of((seed, draw(st.integers(0, 40)))) for seed in range(2)]
    prompts = [
        draw(st.sampled_from(prefixes)) + prompt_of((100 + n, draw(st.integers(1, 30))))
        for n in range(draw(st.integers(1, 12)))
    ]
    return runner, prompts, [draw(st.integers(0, 20)) for _ in prompts]  # 0: the prompt alone


@given(workloads())
def test_every_request_gets_the_answer_it_would_get_alone(
    workload: tuple[ScriptedRunner, list[list[int]], list[int]],
) -> None:
    runner, prompts, lengths = workload
    engine = Engine(runner)
    submit_all(engine, prompts, lengths)
    outputs = run(engine)
    for number, (prompt, n_tokens) in enumerate(zip(prompts, lengths, strict=True)):
        assert tokens_of(outputs[str(number)]) == expected_answer(prompt, n_tokens, runner.n_vocab)


@given(workloads(), st.randoms(use_true_random=False))
def test_cancelling_at_any_moment_leaves_the_others_alone(
    workload: tuple[ScriptedRunner, list[list[int]], list[int]], random: "np.random.RandomState"
) -> None:
    runner, prompts, lengths = workload
    engine = Engine(runner)
    submit_all(engine, prompts, lengths)
    answers: dict[str, list[int]] = {str(n): [] for n in range(len(prompts))}
    cancelled = set()
    while engine.busy:
        if random.random() < 0.1:
            victim = str(random.randrange(len(prompts)))  # type: ignore[attr-defined]
            if engine.cancel(victim):
                cancelled.add(victim)
        for output in engine.step():
            assert output.id not in cancelled
            answers[output.id] += tokens_of([output])
    for name in answers.keys() - cancelled:
        n = int(name)
        assert answers[name] == expected_answer(prompts[n], lengths[n], runner.n_vocab)


def test_running_sequences_decode_in_every_step_of_a_long_prefill() -> None:
    runner = ScriptedRunner(n_batch=16, n_ctx_seq=200)
    engine = Engine(runner)
    engine.submit(request("short", prompt_of((1, 4)), 30))
    engine.step()
    engine.submit(request("long", prompt_of((2, 150))))
    engine.step()
    while len(runner.decoded[-1]) == 2 and len(runner.decoded[-1][1].tokens) > 1:
        short, long = runner.decoded[-1]
        assert len(short.tokens) == 1
        assert len(long.tokens) <= 15
        engine.step()
    assert len(runner.decoded) > 10


def test_a_common_prefix_is_computed_once() -> None:
    runner = ScriptedRunner(n_seq=4, n_batch=100, n_ctx_seq=100)
    engine = Engine(runner)
    prefix = prompt_of((1, 40))
    for number in range(12):
        engine.submit(request(str(number), [*prefix, number, *prompt_of((10 + number, 4))]))
    outputs = run(engine)
    assert engine.stats.prompt_tokens == 40 + 12 * 5
    assert engine.stats.cached_tokens == 11 * 40
    assert sorted(
        o.cached_tokens for o in (out[-1] for out in outputs.values()) if isinstance(o, Generated)
    ) == ([0] + [40] * 11)


@pytest.mark.parametrize("unified", [False, True])
def test_with_a_window_the_prefix_is_shared_through_a_snapshot(unified: bool) -> None:
    runner = ScriptedRunner(n_seq=3, n_batch=100, n_ctx_seq=100, window=10, unified=unified)
    engine = Engine(runner)
    prefix = prompt_of((1, 40))
    prompts = [[*prefix, number, *prompt_of((10 + number, 4))] for number in range(9)]
    for number, prompt in enumerate(prompts):
        engine.submit(request(str(number), prompt, 20))
    outputs = run(engine)
    assert engine.stats.prompt_tokens == 40 + 9 * 5
    for number, prompt in enumerate(prompts):
        assert tokens_of(outputs[str(number)]) == expected_answer(prompt, 20, runner.n_vocab)


def test_one_sequence_with_a_window_finds_the_prefix_from_the_third_request_on() -> None:
    runner = ScriptedRunner(n_seq=1, n_batch=100, n_ctx_seq=100, window=10)
    engine = Engine(runner)
    prefix = prompt_of((1, 40))
    for number in range(5):
        engine.submit(request(str(number), [*prefix, number, *prompt_of((10 + number, 4))]))
    run(engine)
    assert engine.stats.prompt_tokens == 2 * 45 + 3 * 5


@pytest.mark.parametrize(("n_seq", "window"), [(1, 0), (1, 10), (2, 10)])
def test_a_shared_prefix_is_computed_once_even_if_others_evict_it(n_seq: int, window: int) -> None:
    runner = ScriptedRunner(n_seq=n_seq, n_batch=200, n_ubatch=200, n_ctx_seq=200, window=window)
    engine = Engine(runner)
    prefix = prompt_of((1, 80))
    prompts: list[list[int]] = [[*prefix, number, *prompt_of((10 + number, 4))] for number in range(3)]
    for number in range(3, 6):  # before and after others, which take every slot
        prompts += [prompt_of((100 * number + other, 60)) for other in range(n_seq + 1)]
        prompts += [[*prefix, number, *prompt_of((10 + number, 4))]]
    computed = []
    for number, prompt in enumerate(prompts):
        engine.submit(request(str(number), prompt))
        before = engine.stats.prompt_tokens
        assert tokens_of(run(engine)[str(number)]) == expected_answer(prompt, 5, runner.n_vocab)
        computed.append(engine.stats.prompt_tokens - before)
    costs = [n for n, prompt in zip(computed, prompts, strict=True) if prompt[:80] == prefix]
    assert costs[2:] == [5] * 4  # with a window, the second one takes the snapshot for the others


def test_short_prompts_are_computed_before_a_long_one() -> None:
    runner = ScriptedRunner(n_batch=16, n_ctx_seq=200)
    engine = Engine(runner)
    engine.submit(request("long", prompt_of((2, 150))))
    engine.submit(request("short", prompt_of((1, 4)), 3))
    ended = []
    while engine.busy:
        ended += [o.id for o in engine.step() if isinstance(o, Generated) and o.finish]
    assert ended == ["short", "long"]
    assert len(runner.decoded[0]) == 2  # in one batch with the start of the long one


def test_while_any_sequence_decodes_a_batch_is_at_most_one_ubatch() -> None:
    runner = ScriptedRunner(n_batch=128, n_ubatch=40, n_ctx_seq=400)
    engine = Engine(runner)
    engine.submit(request("long", prompt_of((2, 300))))
    engine.step()
    assert len(runner.decoded[-1][0].tokens) == 128  # no other request is delayed
    engine.submit(request("short", prompt_of((1, 4)), 30))
    engine.step()
    while engine.busy:
        engine.step()
        assert sum(len(chunk.tokens) for chunk in runner.decoded[-1]) <= 40


def test_a_shared_cache_admits_only_as_many_answers_as_it_will_hold() -> None:
    runner = ScriptedRunner(n_seq=8, n_batch=64, n_ctx_seq=200, unified=True, n_cells=200)
    engine = Engine(runner)
    for number in range(24):
        engine.submit(request(str(number), prompt_of((number, 20)), 30))
    recomputed = []
    while engine.busy:
        engine.step()
        recomputed.append(engine.stats.recomputed_tokens)
    assert len(runner.decoded) < 24 * 30 / 3  # 200 cells do not quite hold four of 20 + 30
    assert recomputed[-1] < 0.1 * 24 * 50
    assert recomputed[-1] == recomputed[len(recomputed) // 2], "by then the average answer is known"


def test_in_a_shared_cache_short_prompts_bypass_one_that_does_not_fit_yet_but_not_for_ever() -> None:
    runner = ScriptedRunner(n_seq=4, n_batch=64, n_ctx_seq=100, unified=True, n_cells=100)
    engine = Engine(runner)
    engine.submit(request("running", prompt_of((1, 40)), 30))
    engine.step()
    engine.submit(request("long", prompt_of((2, 70)), 5))
    for number in range(40):
        engine.submit(request(f"short {number}", prompt_of((3 + number, 4)), 5))
    order = []
    while engine.busy:
        order += [o.id for o in engine.step() if isinstance(o, Generated) and o.finish]
    assert order.index("short 0") < order.index("long") < order.index("short 39")


def test_a_request_that_takes_too_long_fails_alone_with_the_code_timeout() -> None:
    engine = Engine(ScriptedRunner())
    hurried = Request("hurried", np.array([1, 2, 3], np.int32), 50, GREEDY, timeout=0.0)
    engine.submit(hurried)
    engine.submit(request("patient", [1, 2, 3], 4))
    outputs = run(engine)
    failed = outputs["hurried"][-1]
    assert isinstance(failed, Failed)
    assert failed.code == "timeout"
    assert "no answer within 0 s" in failed.reason
    assert len(tokens_of(outputs["patient"])) == 4


def test_an_identical_prompt_computes_its_last_token_only() -> None:
    engine = Engine(ScriptedRunner())
    prompt = prompt_of((1, 30))
    for name in "ab":
        engine.submit(request(name, prompt))
        run(engine)
    assert engine.stats.prompt_tokens == 30 + 1


def test_a_cache_too_small_for_all_answers_all_of_them() -> None:
    runner = ScriptedRunner(n_seq=4, n_batch=64, n_ctx_seq=60, unified=True, n_cells=60)
    engine = Engine(runner)
    prompts = [prompt_of((number, 12)) for number in range(8)]
    for number, prompt in enumerate(prompts):
        engine.submit(request(str(number), prompt, 40))
    outputs = run(engine)
    assert engine.stats.recomputed_tokens > 0
    for number, prompt in enumerate(prompts):
        assert tokens_of(outputs[str(number)]) == expected_answer(prompt, 40, runner.n_vocab)


def test_a_full_cache_preempts_the_newest() -> None:
    runner = ScriptedRunner(n_seq=2, n_batch=64, n_ctx_seq=40, unified=True, n_cells=40)
    engine = Engine(runner)
    engine.submit(request("old", prompt_of((1, 10)), 25))
    engine.submit(request("new", prompt_of((2, 10)), 25))
    order = []
    while engine.busy:
        order += [o.id for o in engine.step() if isinstance(o, Generated) and o.finish]
    assert order == ["old", "new"]


def test_a_request_whose_logits_are_broken_fails_alone() -> None:
    runner = ScriptedRunner(broken_token=49)
    engine = Engine(runner)
    engine.submit(request("broken", [1, 2, 49]))
    engine.submit(request("whole", [1, 2, 3], 4))
    outputs = run(engine)
    assert [type(o) for o in outputs["broken"]] == [Failed]
    assert len(tokens_of(outputs["whole"])) == 4


def test_a_failed_decode_loses_no_request() -> None:
    runner = ScriptedRunner()
    engine = Engine(runner)
    prompt = prompt_of((3, 10))
    engine.submit(request("a", prompt, 8))
    first = [token for _ in range(3) for token in tokens_of(engine.step())]
    runner.fail_next = True
    with pytest.raises(DecodeFailed):
        engine.step()
    assert first + tokens_of(run(engine)["a"]) == expected_answer(prompt, 8, runner.n_vocab)


@pytest.mark.parametrize("others", [0, 3])
def test_a_seed_gives_the_same_tokens_whatever_else_is_in_the_batch(others: int) -> None:
    runner = ScriptedRunner(n_seq=4)
    engine = Engine(runner)
    for number in range(others):
        engine.submit(request(f"other {number}", prompt_of((number, 9)), 12, Sampling(seed=number)))
    engine.submit(request("mine", prompt_of((7, 9)), 10, Sampling(seed=42)))
    sampled = tokens_of(run(engine)["mine"])

    uniforms = np.random.Generator(np.random.Philox(42)).random(10)
    tokens = prompt_of((7, 9))
    for uniform in uniforms:
        row = logits_after(tokens, runner.n_vocab)
        tokens.append(Sampler(runner.n_vocab).sample(row, Sampling(), float(uniform)))
    assert sampled == tokens[9:]


def test_an_end_token_ends_the_answer_and_the_context_bounds_it() -> None:
    runner = ScriptedRunner(n_ctx_seq=20)
    prompt = prompt_of((5, 12))
    answer = expected_answer(prompt, 9, runner.n_vocab)
    engine = Engine(runner)
    engine.submit(request("length", prompt, 1000))
    engine.submit(Request("stop", np.array(prompt, np.int32), 1000, GREEDY, frozenset([answer[4]])))
    outputs = run(engine)
    assert tokens_of(outputs["length"]) == answer  # 20 in the cache and one more
    last = outputs["length"][-1], outputs["stop"][-1]
    assert [o.finish for o in last if isinstance(o, Generated)] == [FinishReason.LENGTH, FinishReason.STOP]
    assert tokens_of(outputs["stop"]) == answer[: answer.index(answer[4]) + 1]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (request("x", []), "empty"),
        (request("x", [50]), "outside of the vocabulary"),
        (request("x", [-1]), "outside of the vocabulary"),
        (request("x", [1], -1), "max_tokens"),
        (request("x", [1] * 65), "65 tokens, but the context window is 64"),
        (request("x", [1], 1, Sampling(top_p=1.5)), "top_p"),
        (request("x", [1], 1, Sampling(logit_bias={50: 1.0})), "logit_bias"),
    ],
)
def test_a_request_that_can_never_be_answered_is_refused(bad: Request, says: str) -> None:
    engine = Engine(ScriptedRunner())
    with pytest.raises(RequestError, match=says):
        engine.submit(bad)
    assert not engine.busy


def test_logprobs_come_with_every_token() -> None:
    runner = ScriptedRunner()
    engine = Engine(runner)
    engine.submit(request("a", [1, 2, 3], 4, Sampling(temperature=0, logprobs=2)))
    for output in run(engine)["a"]:
        assert isinstance(output, Generated)
        assert output.logprob is not None
        assert output.logprob.top[0] == (output.token, output.logprob.logprob)
