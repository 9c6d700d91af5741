"""An isolated engine gives a request the same logits, bit for bit, whatever runs beside it."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType

from ossctl.engine.engine import Engine
from ossctl.engine.request import Generated, Request, Sampling, TokenLogprob
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from tests.support.models import Shape, byte_vocabulary, write_gpt_oss
from tests.support.scripted import ScriptedRunner, expected_answer, run, tokens_of

Answer = list[tuple[int, TokenLogprob | None]]


def test_a_prompt_is_decoded_alone_and_tokens_with_one_of_every_sequence() -> None:
    runner = ScriptedRunner(n_seq=3, n_batch=30, n_ubatch=8)
    engine = Engine(runner, isolated=True)
    prefix = list(range(20))  # shared, and not taken over
    prompts = [[*prefix, n] for n in range(4)]
    for n, prompt in enumerate(prompts):
        engine.submit(Request(str(n), np.array(prompt, np.int32), 5 + n, Sampling(temperature=0)))
    outputs = run(engine)
    for n, prompt in enumerate(prompts):
        assert tokens_of(outputs[str(n)]) == expected_answer(prompt, 5 + n, runner.n_vocab)
    shapes = [[len(chunk.tokens) for chunk in chunks] for chunks in runner.decoded]
    assert {tuple(shape) for shape in shapes} == {(8,), (5,), (1, 1, 1)}
    assert shapes.count([8]) == 8
    assert engine.stats.cached_tokens == 0


def answers(
    model: LlamaModel, requests: Sequence[Request], n_seq: int, *, flash_attention: bool
) -> dict[str, Answer]:
    options = ContextOptions(
        n_ctx=256, n_seq=n_seq, n_ubatch=64, flash_attention=flash_attention, n_threads=1
    )
    with LlamaRunner(model, options) as runner:
        engine = Engine(runner, isolated=True)
        for request in requests:
            engine.submit(request)
        outputs = run(engine)
    return {
        name: [(token.token, token.logprob) for token in each if isinstance(token, Generated)]
        for name, each in outputs.items()
    }


def requests_of(seed: int, count: int, longest: int) -> list[Request]:
    """Prompts of random bytes, some with a common start, sampled and with the logits' own probabilities."""
    rng = np.random.default_rng(seed)
    start: npt.NDArray[np.int32] = rng.integers(0, 200, 30).astype(np.int32)
    requests = []
    for n in range(count):
        prompt = rng.integers(0, 200, rng.integers(2, longest)).astype(np.int32)
        prompt = np.concatenate([start, prompt]) if n % 3 == 0 else prompt
        sampling = Sampling(temperature=n % 2, seed=n, logprobs=3)
        requests.append(Request(str(n), prompt, int(rng.integers(1, 2 + longest // 6)), sampling))
    return requests


@pytest.fixture(scope="module")
def q2_k(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    """A model of the type whose repacked kernels compute four rows at once otherwise than one."""
    kind = GGMLQuantizationType.Q2_K
    shape = Shape(hidden=256, width=256, attention=(kind,), expert=(kind,))
    path = tmp_path_factory.mktemp("models") / "q2_k.gguf"
    with LlamaModel(write_gpt_oss(path, byte_vocabulary(), shape=shape)) as model:
        yield model


@pytest.mark.parametrize("flash_attention", [False, True], ids=["plain", "flash attention"])
@pytest.mark.parametrize(
    ("name", "count", "longest"),
    [
        ("gpt_oss", 8, 120),
        ("q2_k", 6, 60),
        ("smol", 3, 50),
        pytest.param("gpt_oss", 60, 150, marks=pytest.mark.slow),
        pytest.param("q2_k", 60, 150, marks=pytest.mark.slow),
        pytest.param("smol", 30, 150, marks=pytest.mark.slow),
    ],
)
def test_order_neighbours_and_parallel_requests_change_no_bit(
    name: str, count: int, longest: int, flash_attention: bool, request: pytest.FixtureRequest
) -> None:
    model: LlamaModel = request.getfixturevalue(name)
    seed = int(np.random.default_rng().integers(1 << 32))
    print(f"seed {seed}")
    requests = requests_of(seed, count, longest)
    expected = answers(model, requests, 4, flash_attention=flash_attention)
    some = requests[: count // 2 : -1]
    for others, n_seq in ((requests[::-1], 8), (some, 4)):
        found = answers(model, others, n_seq, flash_attention=flash_attention)
        assert found == {each.id: expected[each.id] for each in others}
