"""The engine over models with recurrent states: turns, shared heads and choices cost only what is new."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pytest

from ossctl.engine.drafts import DraftOptions
from ossctl.engine.engine import Engine
from ossctl.engine.request import Generated, Output, Request, Sampling
from ossctl.runtime.base import Chunk
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from tests.support.scripted import run, tokens_of
from tests.support.small_models import RECURRENT, small_model

Ids = npt.NDArray[np.int32]
MODES = pytest.mark.parametrize("unified", [False, True], ids=["streams", "unified"])
ANSWER = 12


_MODELS = [pytest.param(name, marks=() if name == "qwen35" else pytest.mark.slow) for name in RECURRENT]


@pytest.fixture(scope="module", params=_MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    path = small_model(tmp_path_factory.mktemp("models") / "model.gguf", request.param)
    with LlamaModel(path) as loaded:
        yield loaded


def ids(n: int, seed: int) -> Ids:
    return np.random.default_rng(seed).integers(0, 256, n, dtype=np.int32)


class Talk:
    """An engine, and what each prompt costs it."""

    def __init__(self, model: LlamaModel, runner: LlamaRunner) -> None:
        self._model = model
        self.engine = Engine(runner)

    def ask(self, *prompts: Ids, conversation: str = "") -> tuple[int, list[Ids]]:
        """Answer the prompts together; return the prompt tokens computed, and each prompt with its answer."""
        before = self.engine.stats.prompt_tokens
        for number, prompt in enumerate(prompts):
            sampling = Sampling(temperature=1, seed=number, logprobs=0, ignore_eos=True)
            request = Request(str(number), prompt, ANSWER, sampling, conversation=conversation)
            self.engine.submit(request)
        outputs = run(self.engine)
        answers = [outputs[str(number)] for number in range(len(prompts))]
        for prompt, answer in zip(prompts, answers, strict=True):
            self._check(prompt, answer)
        whole = [
            np.concatenate([prompt, np.array(tokens_of(answer), np.int32)])
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        return self.engine.stats.prompt_tokens - before, whole

    def _check(self, prompt: Ids, answer: list[Output]) -> None:
        """The log probabilities of an answer are those of a fresh evaluation."""
        with runner_of(self._model, n_seq=1) as fresh:
            tokens = prompt
            for output in answer:
                assert isinstance(output, Generated)
                assert output.logprob is not None
                logits = fresh.decode([Chunk(0, tokens, wants_logits=True)])[0].astype(np.float64)
                expected = logits[output.token] - np.logaddexp.reduce(logits)
                assert output.logprob.logprob == pytest.approx(expected, abs=0.02)
                tokens = np.array([output.token], np.int32)


def runner_of(model: LlamaModel, *, n_seq: int, unified: bool = False, n_ctx: int = 1024) -> LlamaRunner:
    return LlamaRunner(model, ContextOptions(n_ctx=n_ctx, n_seq=n_seq, unified=unified, n_threads=1))


@contextmanager
def talk_with(
    model: LlamaModel, *, n_seq: int = 3, unified: bool = False, n_ctx: int = 1024
) -> Iterator[Talk]:
    with runner_of(model, n_seq=n_seq, unified=unified, n_ctx=n_ctx) as runner:
        yield Talk(model, runner)


@MODES
def test_a_turn_computes_what_is_new(model: LlamaModel, unified: bool) -> None:
    with talk_with(model, unified=unified) as talk:
        cost, (whole,) = talk.ask(ids(100, 0), conversation="a")
        assert cost == 100
        for turn in range(1, 4):
            prompt = np.concatenate([whole, ids(20, turn)])
            cost, (whole,) = talk.ask(prompt, conversation="a")
            assert cost == 20 + 1  # the last token of an answer is sampled, not computed


@MODES
def test_a_turn_whose_answer_has_changed_continues_from_its_prompt(model: LlamaModel, unified: bool) -> None:
    with talk_with(model, unified=unified) as talk:
        prompt = ids(100, 0)
        talk.ask(prompt, conversation="a")
        for turn in range(1, 4):
            prompt = np.concatenate([prompt, ids(20, turn)])
            cost, _ = talk.ask(prompt, conversation="a")
            assert cost == 20


@MODES
def test_going_back_and_forking_cost_the_new_message(model: LlamaModel, unified: bool) -> None:
    with talk_with(model, unified=unified) as talk:
        first = ids(100, 0)
        _, (second,) = talk.ask(first, conversation="a")
        second = np.concatenate([second, ids(30, 1)])
        talk.ask(second, conversation="a")
        cost, _ = talk.ask(np.concatenate([second, ids(9, 2)]), conversation="fork")
        assert cost == 9
        cost, _ = talk.ask(np.concatenate([first, ids(10, 3)]), conversation="a")
        assert cost == 10


@MODES
def test_prompts_with_one_head_compute_it_once(model: LlamaModel, unified: bool) -> None:
    head = ids(100, 0)
    prompts = [np.concatenate([head, [n], ids(19, n)]).astype(np.int32) for n in range(1, 8)]
    with talk_with(model, unified=unified) as talk:
        cost, _ = talk.ask(*prompts)
        assert cost == 100 + 7 * 20


@MODES
def test_choices_compute_their_prompt_once(model: LlamaModel, unified: bool) -> None:
    with talk_with(model, unified=unified) as talk:
        cost, _ = talk.ask(*[ids(100, 0)] * 5)
        assert cost == 100 + 4  # the last token of each, for its logits


@MODES
def test_a_head_that_lost_its_slot_is_restored(model: LlamaModel, unified: bool) -> None:
    head, others = ids(100, 0), [ids(90, n) for n in (11, 12, 13)]
    with talk_with(model, n_seq=2, unified=unified) as talk:
        talk.ask(*(np.concatenate([head, ids(20, n)]) for n in (1, 2)))
        for other in others:
            talk.ask(other)
        cost, _ = talk.ask(np.concatenate([head, ids(20, 3)]))
        assert cost == 20


def test_a_cache_too_small_for_all_still_answers_all(model: LlamaModel) -> None:
    with talk_with(model, n_seq=6, unified=True, n_ctx=128) as talk:
        talk.ask(*(ids(50, n) for n in range(6)))
        talk.ask(*(np.concatenate([ids(30, 7), ids(30, n)]) for n in range(6)))


def test_a_state_cannot_drop_rejected_tokens_so_nothing_is_drafted(model: LlamaModel) -> None:
    prompt = np.array([1, 2, 3, 4] * 8, np.int32)
    with LlamaRunner(model, ContextOptions(n_ctx=256, n_outputs=16)) as runner:
        engine = Engine(runner, drafts=DraftOptions(fixed=True))
        engine.submit(Request("a", prompt, max_tokens=20, sampling=Sampling(temperature=0)))
        run(engine)
        assert engine.stats.generated_tokens > 1
        assert engine.stats.drafted_tokens == 0
