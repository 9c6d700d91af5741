"""Penalties and the samplers against repetition: against plain definitions, and against llama.cpp's own."""

import ctypes
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.engine.breakers import BreakerFinder, Breakers
from ossctl.engine.engine import Engine
from ossctl.engine.history import History
from ossctl.engine.request import FinishReason, Generated, Output, Request, Sampling
from ossctl.engine.sampler import Sampler
from ossctl.errors import RequestError
from ossctl.guide import Banned
from ossctl.runtime.base import Logits
from ossctl.runtime.bindings import lib
from ossctl.runtime.model import LlamaModel
from tests.support.scripted import ScriptedRunner, logits_after, run, tokens_of

N_VOCAB = 200


def random_logits(seed: int, n_vocab: int = N_VOCAB) -> Logits:
    return np.random.default_rng(seed).normal(0, 3, n_vocab).astype(np.float32)


def history(
    sampling: Sampling, prompt: Sequence[int], answer: Sequence[int] = (), breakers: Breakers | None = None
) -> History:
    made = History(sampling, np.array(prompt, np.int32), breakers or Breakers())
    for token in answer:
        made.accept(token)
    return made


def penalised(logits: Logits, made: History) -> Logits:
    row = logits.copy()
    made.penalise(row)
    return row


_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class LlamaCpp:
    """A chain of llama.cpp's samplers."""

    def __init__(self, *samplers: Any) -> None:
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for sampler in samplers:
            lib.llama_sampler_chain_add(self._chain, sampler)

    def __del__(self) -> None:
        lib.llama_sampler_free(self._chain)

    def __call__(self, logits: Logits, accepted: Sequence[int] = ()) -> dict[int, float]:
        """The logits of the tokens that are left, by token."""
        lib.llama_sampler_reset(self._chain)
        for token in accepted:
            lib.llama_sampler_accept(self._chain, token)
        entries = np.zeros(len(logits), _TOKEN_DATA)
        entries["id"], entries["logit"] = np.arange(len(logits)), logits
        pointer = entries.ctypes.data_as(ctypes.POINTER(lib.llama_token_data))
        array = lib.llama_token_data_array(pointer, len(logits), -1, False)
        lib.llama_sampler_apply(self._chain, ctypes.byref(array))
        start = (ctypes.addressof(array.data.contents) - entries.ctypes.data) // _TOKEN_DATA.itemsize
        left = entries[start : start + array.size]
        return {int(each["id"]): float(each["logit"]) for each in left if each["logit"] > -math.inf}


# Repetition, frequency, presence.


def counted(logits: Logits, sampling: Sampling, prompt: Sequence[int], answer: Sequence[int]) -> Logits:
    """The definitions of Hugging Face and OpenAI, token by token."""
    row, counts = logits.astype(np.float64), Counter(answer)
    for token in range(len(row)):
        if token in counts or token in prompt:
            penalty = sampling.repetition_penalty
            row[token] = row[token] / penalty if row[token] > 0 else row[token] * penalty
        row[token] -= counts[token] * sampling.frequency_penalty
        row[token] -= (counts[token] > 0) * sampling.presence_penalty
    return row.astype(np.float32)


@given(
    seed=st.integers(0, 2**32),
    prompt=st.lists(st.integers(0, N_VOCAB - 1), min_size=1, max_size=100),
    answer=st.lists(st.integers(0, N_VOCAB - 1), max_size=300),
    frequency=st.sampled_from([0.0, 0.3, -2.0]),
    presence=st.sampled_from([0.0, 1.5, -0.1]),
    repetition=st.sampled_from([1.0, 1.3, 0.8]),
)
def test_penalties_are_those_of_their_definitions(
    seed: int, prompt: list[int], answer: list[int], frequency: float, presence: float, repetition: float
) -> None:
    sampling = Sampling(frequency_penalty=frequency, presence_penalty=presence, repetition_penalty=repetition)
    found = penalised(random_logits(seed), history(sampling, prompt, answer))
    np.testing.assert_allclose(
        found, counted(random_logits(seed), sampling, prompt, answer), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("repeat", "frequency", "presence"), [(1.0, 0.5, 0.0), (1.0, 0.0, 0.7), (1.2, 0.0, 0.0), (1.2, 0.5, -0.7)]
)
def test_penalties_over_the_answer_are_those_of_llama_cpp(
    repeat: float, frequency: float, presence: float
) -> None:
    answer = np.random.default_rng(4).integers(0, 30, 90).tolist()
    sampler = lib.llama_sampler_init_penalties(N_VOCAB, 1000, repeat, frequency, presence)
    sampling = Sampling(frequency_penalty=frequency, presence_penalty=presence, repetition_penalty=repeat)
    expected = LlamaCpp(sampler)(random_logits(1), answer)
    found = penalised(random_logits(1), history(sampling, [answer[0]], answer))
    np.testing.assert_allclose(found, [expected[token] for token in range(N_VOCAB)], rtol=1e-5, atol=1e-5)


def test_only_the_repetition_penalty_counts_the_prompt() -> None:
    logits = np.ones(4, np.float32)
    sampling = Sampling(frequency_penalty=1, presence_penalty=1)
    assert penalised(logits, history(sampling, [1, 1, 2], [3])).tolist() == [1, 1, 1, -1]
    assert penalised(logits, history(Sampling(repetition_penalty=2), [1, 1, 2], [3])).tolist() == [
        1, 0.5, 0.5, 0.5
    ]  # fmt: skip


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_penalty_decides_what_is_sampled(temperature: float) -> None:
    logits, sampling = np.array([0, 20, 19.5], np.float32), Sampling(temperature, frequency_penalty=1)
    made = history(sampling, [0], [1] * 2)
    wanted = 2 if not temperature else None
    tokens = Counter(Sampler(3).sample(logits, sampling, i / 100, None, made) for i in range(100))
    assert tokens[2] == 100 if wanted else tokens[2] == pytest.approx(82, abs=1)  # 1 / (1 + e^-1.5)


# DRY.


def dry(logits: Logits, sampling: Sampling, tokens: Sequence[int], breakers: set[int]) -> Logits:
    """The definition: for each earlier place, how much of the text before it ends the tokens, too."""
    row = logits.astype(np.float64)
    window = (
        list(tokens) if sampling.dry_penalty_last_n == -1 else list(tokens)[-sampling.dry_penalty_last_n :]
    )
    longest: dict[int, int] = {}
    for place in range(1, len(window)):
        length = 0
        while length < place and window[place - 1 - length] == window[-1 - length]:
            if window[-1 - length] in breakers:
                break
            length += 1
        longest[window[place]] = max(longest.get(window[place], 0), length)
    for token, length in longest.items():
        if length >= sampling.dry_allowed_length and token not in breakers:
            row[token] -= sampling.dry_multiplier * sampling.dry_base ** (
                length - sampling.dry_allowed_length
            )
    return row.astype(np.float32)


@given(
    prompt=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    answer=st.lists(st.integers(0, 4), max_size=60),
    allowed=st.integers(1, 4),
    last_n=st.sampled_from([-1, 0, 1, 7, 30]),
    breakers=st.sets(st.integers(3, 4)),
)
def test_dry_is_that_of_its_definition(
    prompt: list[int], answer: list[int], allowed: int, last_n: int, breakers: set[int]
) -> None:
    sampling = Sampling(
        dry_multiplier=0.8, dry_base=1.75, dry_allowed_length=allowed, dry_penalty_last_n=last_n
    )
    made = history(sampling, prompt, answer, Breakers((token,) for token in breakers))
    found = penalised(random_logits(2, 6), made)
    expected = dry(random_logits(2, 6), sampling, [*prompt, *answer] if last_n else [], breakers)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


TEXTS = [
    "one two three one two three one two",
    'He said: "no, no, no, no" and then he said: "no, no',
    "a\nb\na\nb\na\nb\na",
    "the end of the end of the end of",
    "x" * 400,
]


@pytest.mark.parametrize(
    "texts", [("\n", ":", '"', "*"), ("said: ", "two", "d of"), ("\nb\n", "nd o", "o, n")]
)
@pytest.mark.parametrize("last_n", [1000, 9])
def test_dry_is_that_of_llama_cpp(smol: LlamaModel, texts: tuple[str, ...], last_n: int) -> None:
    """With breakers of one token and of several, also inside of other tokens."""
    sampling = Sampling(dry_multiplier=0.8, dry_penalty_last_n=last_n, dry_sequence_breakers=texts)
    breakers = BreakerFinder(smol.vocab).find(texts)
    data = (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))
    sampler = lib.llama_sampler_init_dry(smol.vocab._vocab, 0.8, 1.75, 2, last_n, data, len(texts))
    theirs, logits, n_changed = LlamaCpp(sampler), random_logits(3, smol.vocab.size), 0
    for text in TEXTS:
        tokens = smol.vocab.tokenize(text)
        expected = theirs(logits, tokens)
        half = len(tokens) // 2
        found = penalised(logits, history(sampling, tokens[:half], tokens[half:], breakers))
        np.testing.assert_allclose(found, [expected[token] for token in range(len(logits))], rtol=1e-4)
        n_changed += bool((found != logits).any())
    assert n_changed >= 2


# Top-n-sigma and XTC.


def kept(sampling: Sampling, logits: Logits, made: History | None = None) -> set[int]:
    sampler = Sampler(len(logits))
    return {sampler.sample(logits, sampling, i / 1000, None, made) for i in range(1000)}


@pytest.mark.parametrize("n_sigmas", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_top_n_sigma_is_that_of_llama_cpp(n_sigmas: float, temperature: float) -> None:
    logits = (random_logits(5) / 3).astype(np.float32)
    logits[:50] = -np.inf
    expected = set(LlamaCpp(lib.llama_sampler_init_top_n_sigma(n_sigmas))(logits))
    finite = logits[50:].astype(np.float64)
    assert expected == set((np.flatnonzero(finite >= finite.max() - n_sigmas * finite.std()) + 50).tolist())
    assert kept(Sampling(temperature, top_n_sigma=n_sigmas), logits) == expected


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("cut", [{}, {"top_k": 10}, {"top_p": 0.9}, {"min_p": 0.05}])
def test_xtc_is_that_of_llama_cpp(threshold: float, cut: dict[str, float]) -> None:
    """In a chain with the other limits before it."""
    logits = (random_logits(6) / 3).astype(np.float32)
    limits = {
        "top_k": lib.llama_sampler_init_top_k,
        "top_p": lambda value: lib.llama_sampler_init_top_p(value, 1),
        "min_p": lambda value: lib.llama_sampler_init_min_p(value, 1),
    }
    before = [limits[name](value) for name, value in cut.items()]
    expected = set(LlamaCpp(*before, lib.llama_sampler_init_xtc(1.0, threshold, 1, 0))(logits))
    sampling = Sampling(xtc_probability=1, xtc_threshold=threshold, **cut)  # type: ignore[arg-type]
    found = kept(sampling, logits, history(sampling, [1]))
    assert found <= expected
    assert {token for token in expected if logits[token] > logits.max() - 1} <= found


def test_xtc_excludes_with_its_probability_and_leaves_the_other_draws_alone() -> None:
    sampling = Sampling(xtc_probability=0.3, seed=9)
    made = history(sampling, [1])
    excludes = [made.excludes_top_choices]
    for token in range(3000):
        made.accept(token)
        excludes.append(made.excludes_top_choices)
    assert np.mean(excludes) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frequency_penalty": 2.5}, "frequency_penalty is 2.5, must be from -2 to 2"),
        ({"presence_penalty": math.nan}, "presence_penalty is nan, must be from -2 to 2"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0, must be more than 0"),
        ({"repetition_penalty": math.inf}, "repetition_penalty is inf, must be more than 0"),
        ({"min_tokens": -1}, "min_tokens is -1, must be 0 or more"),
        ({"top_n_sigma": -2}, "top_n_sigma is -2, must be 0 or more"),
        ({"dry_base": 0.5}, "dry_base is 0.5, must be 1 or more"),
        ({"dry_allowed_length": 0}, "dry_allowed_length is 0, must be 1 or more"),
        ({"dry_penalty_last_n": -2}, "dry_penalty_last_n is -2, must be -1 or more"),
        ({"dry_sequence_breakers": ("\n", "")}, "dry_sequence_breakers contains an empty string"),
        ({"xtc_probability": 1.1}, "xtc_probability is 1.1, must be from 0 to 1"),
        ({"xtc_threshold": -0.1}, "xtc_threshold is -0.1, must be from 0 to 1"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Sampling(**fields).validate()


# In the engine.


def submit(engine: Engine, name: str, n_tokens: int, sampling: Sampling, **fields: Any) -> None:
    prompt = np.random.default_rng(int(name)).integers(0, 50, 12).astype(np.int32)
    engine.submit(Request(name, prompt, n_tokens, sampling, **fields))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"repetition_penalty": 5e-324}, 1),
        ({"repetition_penalty": 1e-40}, 1),
        ({"repetition_penalty": 1e40}, 2),
        ({"repetition_penalty": 1e308}, 2),
        ({"dry_multiplier": 1e308, "dry_allowed_length": 1}, 2),
        ({"dry_multiplier": 1.0, "dry_base": 1e308, "dry_allowed_length": 1}, 2),
        ({"top_n_sigma": 1e308, "frequency_penalty": 2}, 2),
        ({"top_n_sigma": 5e-324, "frequency_penalty": 2}, 2),
    ],
)
@pytest.mark.parametrize("limits", [{}, {"top_k": 3}, {"top_k": 8}, {"top_p": 0.9}, {"min_p": 1e-300}])
@pytest.mark.filterwarnings("error")
def test_extreme_values_have_the_effect_of_strong_ones(
    fields: dict[str, Any], limits: dict[str, Any], expected: int
) -> None:
    """Token 1 is the only repeated one; 2 is the most likely one that is not."""
    sampling = Sampling(temperature=1e-4, **fields, **limits)
    sampling.validate()
    history = History(sampling, np.array([1, 1], np.int32), Breakers())
    history.accept(1)
    logits = np.array([-3, 5.0, 4.9, 3, 2, 1, -1, 0], np.float32)
    assert Sampler(len(logits)).sample(logits, sampling, 0.5, history=history) == expected


def test_penalties_survive_a_full_cache_and_do_not_mix_up_requests() -> None:
    """The cells do not suffice for all, so requests are preempted and computed again."""
    runner = ScriptedRunner(n_seq=4, unified=True, n_cells=100)
    engine = Engine(runner)
    settings: list[dict[str, Any]] = [
        {},
        {"frequency_penalty": 1.5},
        {"repetition_penalty": 1.4},
        {"presence_penalty": 2.0},
    ] * 2
    samplings = [Sampling(temperature=0, **each) for each in settings]
    for number, sampling in enumerate(samplings):
        submit(engine, str(number), 40, sampling)
    outputs = run(engine)
    assert engine.stats.recomputed_tokens > 0
    for number, sampling in enumerate(samplings):
        prompt = np.random.default_rng(number).integers(0, 50, 12).tolist()
        answer: list[int] = []
        for _ in range(40):
            row = counted(logits_after([*prompt, *answer], runner.n_vocab), sampling, prompt, answer)
            answer.append(int(row.argmax()))
        assert tokens_of(outputs[str(number)]) == answer


@pytest.mark.parametrize(
    "fields", [{"xtc_probability": 1, "xtc_threshold": 0.5}, {"presence_penalty": 1e-30}]
)
def test_samplers_without_effect_leave_the_draws_alone(fields: dict[str, Any]) -> None:
    engine = Engine(ScriptedRunner())
    submit(engine, "1", 40, Sampling(seed=5))
    submit(engine, "01", 40, Sampling(seed=5, **fields))
    outputs = run(engine)
    assert tokens_of(outputs["1"]) == tokens_of(outputs["01"])


END = frozenset(range(25))


def answer_with(n_tokens: int = 30, **fields: Any) -> list[Output]:
    """An answer where half of the tokens would end it."""
    engine = Engine(ScriptedRunner())
    submit(engine, "3", n_tokens, Sampling(**fields), end_ids=END)
    return run(engine)["3"]


def test_no_end_token_comes_before_min_tokens() -> None:
    assert len(answer_with()) < 12
    outputs = answer_with(min_tokens=12)
    tokens = tokens_of(outputs)
    assert len(tokens) > 12
    assert END.isdisjoint(tokens[:12])
    assert tokens[-1] in END
    assert isinstance(outputs[-1], Generated)
    assert outputs[-1].finish is FinishReason.STOP


def test_with_ignore_eos_only_the_limit_ends_the_answer() -> None:
    outputs = answer_with(ignore_eos=True)
    tokens = tokens_of(outputs)
    assert len(tokens) == 30
    assert not END.isdisjoint(tokens)
    assert tokens[: len(answer_with())] == tokens_of(answer_with())
    assert isinstance(outputs[-1], Generated)
    assert outputs[-1].finish is FinishReason.LENGTH


def test_min_tokens_above_the_limit_is_refused() -> None:
    with pytest.raises(RequestError, match="min_tokens is 31, but the answer is limited to 30 tokens"):
        answer_with(min_tokens=31)


@pytest.mark.parametrize(("allowed", "expected"), [([0, 30], 30), ([0], 0)])
def test_a_guide_that_allows_nothing_else_may_end_an_answer_early(allowed: list[int], expected: int) -> None:
    class Only:
        def forced(self) -> Sequence[int]:
            return ()

        def banned(self) -> Banned:
            banned = np.ones(50, np.bool_)
            banned[allowed] = False
            return banned

        def accept(self, token: int) -> None:
            pass

    engine = Engine(ScriptedRunner())
    submit(engine, "3", 1, Sampling(min_tokens=1), end_ids=END, guide=Only())
    assert tokens_of(run(engine)["3"]) == [expected]
