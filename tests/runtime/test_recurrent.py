"""Models with recurrent states behind `LlamaRunner`: exact rollbacks and copies where there is a snapshot."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from ossctl.runtime.base import CacheFull, Chunk, DecodeAborted, Logits, RollbackImpossible
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from tests.support.small_models import RECURRENT, small_model

UNIFIED = pytest.mark.parametrize("unified", [False, True], ids=["streams", "unified"])


@pytest.fixture(scope="module", params=RECURRENT)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    path = small_model(tmp_path_factory.mktemp("models") / "model.gguf", request.param)
    with LlamaModel(path) as loaded:
        yield loaded


def tokens(n: int, seed: int = 0) -> npt.NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, 256, n, dtype=np.int32)


def feed(runner: LlamaRunner, seq: int, *parts: npt.NDArray[np.int32]) -> Logits:
    """Decode each part at once; the logits after the last."""
    rows = [runner.decode([Chunk(seq, part, wants_logits=True)]).copy() for part in parts]
    last: Logits = rows[-1][0]
    return last


def runner_of(model: LlamaModel, *, unified: bool = False, n_ctx: int = 512, n_seq: int = 4) -> LlamaRunner:
    return LlamaRunner(model, ContextOptions(n_ctx=n_ctx, n_seq=n_seq, unified=unified, n_threads=1))


PROMPT, MORE, PROBE = tokens(100), tokens(40, seed=1), tokens(3, seed=2)


@UNIFIED
def test_a_rollback_needs_a_snapshot_and_is_exact(model: LlamaModel, unified: bool) -> None:
    with runner_of(model, unified=unified) as runner:
        feed(runner, 0, PROMPT)
        snapshot = runner.snapshot(0)
        feed(runner, 0, MORE)
        assert runner.needs_snapshots
        assert not runner.can_rollback(0, 100)
        with pytest.raises(RollbackImpossible):
            runner.rollback(0, 100)
        runner.rollback(0, 100, snapshot)
        rolled_back = feed(runner, 0, PROBE)
    with runner_of(model, unified=unified) as runner:
        assert np.array_equal(rolled_back, feed(runner, 0, PROMPT, PROBE))


@UNIFIED
@pytest.mark.parametrize("behind", [False, True], ids=["at its end", "behind its end"])
def test_a_copy_and_its_source_continue_as_if_computed(
    model: LlamaModel, unified: bool, behind: bool
) -> None:
    with runner_of(model, unified=unified) as runner:
        feed(runner, 0, PROMPT)
        snapshot = runner.snapshot(0)
        if behind:
            feed(runner, 0, MORE)
        for target in (2, 1, 2):
            runner.copy(0, target, 100, snapshot if behind else None)
        both = runner.decode([Chunk(seq, PROBE, wants_logits=True) for seq in (1, 2)]).copy()
        source = feed(runner, 0, PROBE)
    with runner_of(model, unified=unified) as runner:
        computed = feed(runner, 0, PROMPT, PROBE)
        parts = (PROMPT, MORE, PROBE) if behind else (PROMPT, PROBE)
        np.testing.assert_allclose(source, feed(runner, 3, *parts), atol=5e-3)
    for logits in both:
        np.testing.assert_allclose(logits, computed, atol=5e-3)


@UNIFIED
def test_what_was_saved_continues_and_rolls_back_in_another_sequence(
    model: LlamaModel, unified: bool
) -> None:
    with runner_of(model, unified=unified) as runner:
        feed(runner, 0, PROMPT)
        snapshot = runner.snapshot(0)
        feed(runner, 0, MORE)
        state = runner.save(0)
        feed(runner, 1, tokens(30, seed=5))
        runner.rollback(0, 0)
        runner.load(1, 140, state)
        continued = feed(runner, 1, PROBE)
        runner.load(2, 140, state)
        runner.rollback(2, 100, snapshot)
        rolled_back = feed(runner, 2, PROBE)
    with runner_of(model, unified=unified) as runner:
        np.testing.assert_allclose(continued, feed(runner, 0, PROMPT, MORE, PROBE), atol=5e-3)
        np.testing.assert_allclose(rolled_back, feed(runner, 1, PROMPT, PROBE), atol=5e-3)


def test_sequences_of_a_batch_keep_their_own_states(model: LlamaModel) -> None:
    prompts = [tokens(n, seed=n) for n in (70, 31, 90)]
    with runner_of(model) as runner:
        together = runner.decode(
            [Chunk(seq, prompt, wants_logits=True) for seq, prompt in enumerate(prompts)]
        ).copy()
    for prompt, logits in zip(prompts, together, strict=True):
        with runner_of(model) as runner:
            np.testing.assert_allclose(logits, feed(runner, 0, prompt), atol=5e-3)


@UNIFIED
def test_after_a_stopped_decode_a_snapshot_brings_the_state_back(model: LlamaModel, unified: bool) -> None:
    with runner_of(model, unified=unified) as runner:
        feed(runner, 0, PROMPT)
        snapshot = runner.snapshot(0)
        feed(runner, 0, MORE)
        runner.abort()
        with pytest.raises(DecodeAborted) as aborted:
            runner.decode([Chunk(0, tokens(60, seed=3), True), Chunk(1, tokens(60, seed=4), True)])
        runner.resume()
        assert aborted.value.lengths == {0: 0, 1: 0}
        assert not runner.can_rollback(0, 140)
        with pytest.raises(ValueError, match="rolled back first"):
            feed(runner, 0, PROBE)
        runner.rollback(0, 100, snapshot)
        after, other = feed(runner, 0, PROBE), feed(runner, 1, PROMPT, PROBE)
    with runner_of(model, unified=unified) as runner:
        fresh = feed(runner, 0, PROMPT, PROBE)
    for logits in (after, other):
        np.testing.assert_allclose(logits, fresh, atol=5e-3)


def test_a_full_cache_changes_nothing(model: LlamaModel) -> None:
    if model.header.metadata["general.architecture"] == "mamba":
        return  # has no cells that could be full
    with runner_of(model, unified=True, n_ctx=256) as runner:
        feed(runner, 0, tokens(200))
        with pytest.raises(CacheFull):
            feed(runner, 1, PROMPT)
        after = feed(runner, 0, PROBE)
        runner.rollback(0, 0)
        np.testing.assert_allclose(feed(runner, 1, tokens(200), PROBE), after, atol=5e-3)
