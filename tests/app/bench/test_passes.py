"""The engine and bare llama.cpp do the same work."""

from pathlib import Path

import numpy as np
import pytest

from ossctl.app.bench.passes import BareSide, EngineSide, Pass, Phase, Work
from ossctl.app.bench.rounds import Effort, repeat
from ossctl.runtime.bare_decode import BareDecoder
from ossctl.runtime.base import Chunk
from ossctl.runtime.bindings import lib
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel


@pytest.mark.parametrize("unified", [True, False])
def test_both_sides_decode_the_same_number_of_tokens(byte_model_path: Path, unified: bool) -> None:
    work = Work(3, 20, 5)
    options = ContextOptions(n_ctx=256, n_seq=4, n_batch=32, unified=unified, n_threads=1)
    with LlamaModel(byte_model_path) as model, LlamaRunner(model, options) as runner:
        ours = EngineSide(runner).run(work)
        again = EngineSide(runner).run(work)
        bare = BareSide(runner, ours.generated).run(work)
        after = EngineSide(runner).run(work)
    assert ours.prefill.tokens == bare.prefill.tokens == 60
    assert bare.generation.tokens == ours.generated.size
    assert (ours.generated == again.generated).all()  # no pass leaves anything for the next
    assert (ours.generated == after.generated).all()


def test_bare_decoding_computes_what_the_runner_computes(byte_model_path: Path) -> None:
    rng = np.random.default_rng(0)
    prompts = [*rng.integers(1, 250, (2, 40), np.int32)]
    rows = rng.integers(1, 250, (3, 2), np.int32)
    options = ContextOptions(n_ctx=64, n_seq=2, n_batch=16, n_threads=1)
    with LlamaModel(byte_model_path) as model, LlamaRunner(model, options) as runner:
        bare = BareDecoder(runner)
        bare.prefill(prompts)
        bare.generate(rows, 40)
        found = np.ctypeslib.as_array(lib.llama_get_logits(runner.handle), (2, runner.n_vocab)).copy()
        bare.clear()
        for seq, prompt in enumerate(prompts):
            for at in range(0, 40, 16):
                runner.decode([Chunk(seq, prompt[at : at + 16], wants_logits=False)])
        for row in rows:
            step = [Chunk(seq, row[seq : seq + 1], wants_logits=True) for seq in (0, 1)]
            expected = runner.decode(step).copy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


class Scripted:
    """Passes of given speeds."""

    def __init__(self, *speeds: float) -> None:
        self._speeds = list(speeds)
        self.passes = 0

    def run(self, _: Work) -> Pass:
        phase = Phase(100, 100 / self._speeds[self.passes % len(self._speeds)], 0.1)
        self.passes += 1
        return Pass(phase, phase, np.zeros((1, 1), np.int32))


def test_rounds_end_when_both_sides_are_precise() -> None:
    ours, bare = Scripted(100, 101), Scripted(100)
    passes = repeat(Work(1, 1, 1), {"ours": ours, "bare": bare}, Effort(60, 50), lambda: True)
    assert len(passes["ours"]) == len(passes["bare"]) == 3


def test_rounds_of_a_noisy_machine_end_at_their_limit() -> None:
    ours = Scripted(100, 30, 250)
    assert len(repeat(Work(1, 1, 1), {"ours": ours}, Effort(60, 8), lambda: True)["ours"]) == 8


def test_an_interrupted_round_does_not_count() -> None:
    ours, bare = Scripted(100, 50), Scripted(100)
    passes = repeat(
        Work(1, 1, 1), {"ours": ours, "bare": bare}, Effort(60, 50), lambda: bare.passes + ours.passes < 3
    )
    assert len(passes["ours"]) == len(passes["bare"]) == 1
