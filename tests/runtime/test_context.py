"""llama.cpp's cache behind `LlamaRunner`: exact rollbacks and copies, guarded calls, freed memory."""

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ossctl.runtime.base import CacheFull, Chunk, DecodeAborted, Logits, RollbackImpossible, Snapshot
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel

MODES = pytest.mark.parametrize(
    "mode",
    [{"unified": unified, "flash_attention": flash} for flash in (False, True) for unified in (False, True)],
    ids=["streams", "unified", "streams, flash attention", "unified, flash attention"],
)
WINDOW = 128


def tokens(n: int, seed: int = 0) -> npt.NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, 256, n, dtype=np.int32)


def feed(runner: LlamaRunner, seq: int, ids: npt.NDArray[np.int32], step: int = 512) -> Logits:
    """Decode `ids` into `seq`; the logits after the last of them."""
    logits = np.empty((0, 0), np.float32)
    for start in range(0, len(ids), step):
        chunk = ids[start : start + step]
        logits = runner.decode([Chunk(seq, chunk, start + len(chunk) == len(ids))])
    last: Logits = logits[0].copy()
    return last


def generate(runner: LlamaRunner, seq: int, n: int, seed: int) -> None:
    for token in tokens(n, seed):
        runner.decode([Chunk(seq, np.array([token], np.int32), wants_logits=False)])


def runner_of(
    model: LlamaModel,
    *,
    n_seq: int = 4,
    n_ctx: int = 2560,
    unified: bool = False,
    flash_attention: bool = True,
) -> LlamaRunner:
    options = ContextOptions(
        n_ctx=n_ctx, n_seq=n_seq, unified=unified, n_threads=1, flash_attention=flash_attention
    )
    return LlamaRunner(model, options)


@pytest.fixture
def small(gpt_oss: LlamaModel) -> Iterator[LlamaRunner]:
    with runner_of(gpt_oss, n_seq=3, n_ctx=256) as runner:
        yield runner


@MODES
@pytest.mark.parametrize(
    "step", [pytest.param(1, id="token by token", marks=pytest.mark.slow), pytest.param(30, id="at once")]
)
def test_rollback_with_a_snapshot_is_bit_identical_to_a_fresh_evaluation(
    gpt_oss: LlamaModel, mode: dict[str, bool], step: int
) -> None:
    # 30 tokens: at 1,536 the fresh window wraps around in its 768 cells, the restored one does not, and
    # flash attention adds the same values in another order.
    prompt, probe = tokens(1500), tokens(30, seed=9)
    with runner_of(gpt_oss, **mode, n_seq=2) as runner:
        feed(runner, 0, prompt)
        snapshot = runner.snapshot(0)
        generate(runner, 0, 700, seed=1)
        assert not runner.can_rollback(0, 1500)
        runner.rollback(0, 1500, snapshot)
        rolled_back = feed(runner, 0, probe, step)
    with runner_of(gpt_oss, **mode, n_seq=2) as runner:
        feed(runner, 0, prompt)
        assert np.array_equal(rolled_back, feed(runner, 0, probe, step))


def test_rollback_beyond_the_window_without_a_snapshot_is_refused(gpt_oss: LlamaModel) -> None:
    with runner_of(gpt_oss) as runner:
        feed(runner, 0, tokens(1500))
        generate(runner, 0, 700, seed=1)
        with pytest.raises(RollbackImpossible):
            runner.rollback(0, 1500)
        assert runner.snapshot(0).n_tokens == 2200


def test_rollback_where_the_window_is_intact_needs_no_snapshot(gpt_oss: LlamaModel) -> None:
    prompt, probe = tokens(90), tokens(5, seed=9)
    with runner_of(gpt_oss) as runner:
        feed(runner, 0, prompt)
        generate(runner, 0, 20, seed=1)
        runner.rollback(0, 90)
        rolled_back = feed(runner, 0, probe)
        feed(runner, 1, prompt)
        assert np.array_equal(rolled_back, feed(runner, 1, probe))


@MODES
@pytest.mark.parametrize("extra", [0, 700], ids=["at its end", "far behind its end"])
def test_a_copied_prefix_gives_the_logits_of_a_computed_one(
    gpt_oss: LlamaModel, mode: dict[str, bool], extra: int
) -> None:
    prompt, probe = tokens(600), tokens(30, seed=9)
    with runner_of(gpt_oss, **mode) as runner:
        feed(runner, 0, prompt)
        snapshot = runner.snapshot(0)
        generate(runner, 0, extra, seed=1)
        for target in (1, 2):
            runner.copy(0, target, 600, snapshot if extra else None)
        copied = [feed(runner, target, probe) for target in (1, 2)]
        generate(runner, 2, 300, seed=3)  # a shared window could not be reused: this would fill the cache
    with runner_of(gpt_oss, **mode) as runner:
        feed(runner, 0, prompt)
        computed = feed(runner, 0, probe)
    for logits in copied:
        np.testing.assert_allclose(logits, computed, atol=1e-4)


def test_a_copied_stream_without_a_window_is_bit_identical(smol: LlamaModel) -> None:
    prompt, probe = tokens(200), tokens(10, seed=9)
    with runner_of(smol, n_ctx=512) as runner:
        assert not runner.needs_snapshots
        feed(runner, 0, np.concatenate([prompt, tokens(50, seed=1)]))
        runner.copy(0, 1, 200)
        feed(runner, 2, prompt)
        assert np.array_equal(feed(runner, 1, probe), feed(runner, 2, probe))


@MODES
def test_what_was_saved_gives_the_logits_of_what_was_computed(
    gpt_oss: LlamaModel, mode: dict[str, bool]
) -> None:
    prompt, probe = tokens(600), tokens(30, seed=9)
    with runner_of(gpt_oss, **mode) as runner:
        feed(runner, 0, prompt)
        state = runner.save(0)
        fresh = feed(runner, 0, probe)
        generate(runner, 1, 50, seed=1)  # something else where it comes back
        runner.rollback(0, 0)
        runner.load(1, 600, state)
        assert runner.snapshot(1).n_tokens == 600
        loaded = feed(runner, 1, probe)
    scale = float(np.abs(fresh).max())
    assert np.abs(loaded - fresh).max() < 0.02 * scale  # cells lie elsewhere in a unified cache


def test_a_copy_in_a_unified_cache_differs_no_more_than_two_fresh_evaluations(smol: LlamaModel) -> None:
    prompt, probe = tokens(200), tokens(10, seed=9)
    with runner_of(smol, unified=True, n_ctx=2048) as runner:
        feed(runner, 0, np.concatenate([prompt, tokens(50, seed=1)]))
        runner.copy(0, 1, 200)
        copied = feed(runner, 1, probe)
        fresh = []
        for seq in (2, 3):
            feed(runner, seq, prompt)
            fresh.append(feed(runner, seq, probe))
    noise = np.abs(fresh[0] - fresh[1]).max()  # cells lie elsewhere, so sums come out in another order
    assert np.abs(copied - fresh[0]).max() < 3 * noise + 1e-3


def test_a_full_cache_changes_nothing(gpt_oss: LlamaModel) -> None:
    with runner_of(gpt_oss, unified=True, n_ctx=256) as runner:
        feed(runner, 0, tokens(200))
        with pytest.raises(CacheFull):
            feed(runner, 1, tokens(100, seed=1))
        assert (runner.snapshot(0).n_tokens, runner.snapshot(1).n_tokens) == (200, 0)
        runner.rollback(0, 0)
        feed(runner, 1, tokens(100, seed=1))


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        ([], "at least one"),
        ([(0, [1]), (0, [2])], "at most one per sequence"),
        ([(3, [1])], "there is no sequence 3, only 0 to 2"),
        ([(-1, [1])], "there is no sequence -1"),
        ([(0, [])], "cannot append 0 tokens"),
        ([(0, [1] * 257)], "cannot append 257 tokens to 0"),
        ([(0, [265])], "outside the vocabulary"),
        ([(0, [-1])], "outside the vocabulary"),
    ],
)
def test_a_bad_batch_is_a_python_error(
    small: LlamaRunner, chunks: list[tuple[int, list[int]]], says: str
) -> None:
    batch = [Chunk(seq, np.array(ids, np.int32), wants_logits=True) for seq, ids in chunks]
    with pytest.raises(ValueError, match=says):
        small.decode(batch)
    feed(small, 0, tokens(5))


def test_a_batch_larger_than_n_batch_is_a_python_error(gpt_oss: LlamaModel) -> None:
    with LlamaRunner(gpt_oss, ContextOptions(n_ctx=256, n_seq=2, n_batch=64)) as runner:
        batch = [Chunk(seq, tokens(40), wants_logits=False) for seq in (0, 1)]
        with pytest.raises(ValueError, match="exceed a batch of 64"):
            runner.decode(batch)


@pytest.mark.parametrize(
    "options",
    [
        ContextOptions(n_seq=0),
        ContextOptions(n_seq=257),
        ContextOptions(n_ctx=0),
        ContextOptions(n_ubatch=0),
        ContextOptions(n_seq=8, n_batch=7),
    ],
)
def test_impossible_sizes_are_refused(gpt_oss: LlamaModel, options: ContextOptions) -> None:
    with pytest.raises(ValueError, match=r"n_(seq|ctx|batch)"):
        LlamaRunner(gpt_oss, options)


def test_a_quantised_cache_without_flash_attention_is_refused(gpt_oss: LlamaModel) -> None:
    with pytest.raises(ValueError, match="q8_0 needs flash attention"):
        LlamaRunner(gpt_oss, ContextOptions(kv_type="q8_0", flash_attention=False))


def test_positions_and_snapshots_are_checked(small: LlamaRunner) -> None:
    feed(small, 0, tokens(50))
    with pytest.raises(ValueError, match="position 51"):
        small.rollback(0, 51)
    with pytest.raises(ValueError, match="snapshot has 7 tokens"):
        small.rollback(0, 50, Snapshot(7, b""))
    with pytest.raises(ValueError, match="onto itself"):
        small.copy(0, 0, 10)
    with pytest.raises(RollbackImpossible, match="saved state"):
        small.rollback(0, 20, Snapshot(20, b"not a state of any sequence"))


def test_after_close_every_call_is_a_python_error(gpt_oss: LlamaModel) -> None:
    runner = runner_of(gpt_oss, n_ctx=256)
    runner.close()
    runner.close()
    for call in (
        lambda: runner.decode([Chunk(0, tokens(1), wants_logits=True)]),
        lambda: runner.snapshot(0),
        lambda: runner.rollback(0, 0),
        lambda: runner.copy(0, 1, 0),
        lambda: runner.can_rollback(0, 0),
    ):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_abort_stops_a_running_decode(smol: LlamaModel) -> None:
    with runner_of(smol, n_seq=1, n_ctx=2048) as runner:
        started = time.monotonic()
        threading.Timer(0.3, runner.abort).start()
        with pytest.raises(DecodeAborted):
            feed(runner, 0, tokens(2000), step=2000)
        assert time.monotonic() - started < 2  # all of it takes some six seconds


def test_after_a_stopped_decode_a_cleared_sequence_is_as_good_as_new(smol: LlamaModel) -> None:
    prompt = tokens(300)
    with runner_of(smol, n_seq=1, n_ctx=2048) as runner:
        threading.Timer(0.5, runner.abort).start()
        with pytest.raises(DecodeAborted):
            runner.decode([Chunk(0, tokens(2000), wants_logits=True)])
        runner.resume()
        runner.rollback(0, 0)
        again = feed(runner, 0, prompt)
    with runner_of(smol, n_seq=1, n_ctx=2048) as runner:
        assert np.array_equal(again, feed(runner, 0, prompt))


def test_after_a_stopped_decode_what_was_computed_can_be_gone_on_from(gpt_oss: LlamaModel) -> None:
    prompt, probe = tokens(3000), tokens(20, seed=3)
    options = ContextOptions(n_ctx=4096, n_batch=4096, n_ubatch=64, n_threads=2)

    def compute_again_and_again(runner: LlamaRunner) -> None:
        while True:
            runner.rollback(0, 0)
            runner.decode([Chunk(0, prompt, wants_logits=True)])

    for _ in range(20):  # until the decode is stopped with some of its ubatches complete
        with LlamaRunner(gpt_oss, options) as runner:
            threading.Timer(0.2, runner.abort).start()
            with pytest.raises(DecodeAborted) as aborted:
                compute_again_and_again(runner)
            runner.resume()
            held = aborted.value.lengths[0]
            assert held == runner.snapshot(0).n_tokens
            after = feed(runner, 0, np.concatenate([prompt[held:], probe]))
        if held > WINDOW:
            break
    assert WINDOW < held < len(prompt)
    with LlamaRunner(gpt_oss, options) as runner:
        fresh = feed(runner, 0, np.concatenate([prompt, probe]))
    np.testing.assert_allclose(after, fresh, atol=1e-4)


def test_memory_is_freed_on_close_and_after_an_exception(byte_model_path: Path) -> None:
    def resident_mib() -> float:
        gc.collect()
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError

    def load_and_fail() -> None:
        with (
            LlamaModel(byte_model_path) as model,
            runner_of(model, n_seq=2, n_ctx=16_384) as runner,
            pytest.raises(ValueError, match="vocabulary"),
        ):
            runner.decode([Chunk(0, np.array([999], np.int32), wants_logits=True)])

    if not Path("/proc/self/status").exists():
        pytest.skip("/proc is missing")
    for _ in range(3):  # until the allocator has its arenas
        load_and_fail()
    before = resident_mib()
    for _ in range(10):
        load_and_fail()
    # Each cache holds 2 sequences * 16,384 cells * 2 full layers * K and V of 128 values at f16: 32 MiB.
    # Ten that were not freed would be 320; the allocator's own holes move by one or two of them.
    assert resident_mib() - before < 160


def test_the_logits_of_several_tokens_are_those_of_single_decodes(gpt_oss: LlamaModel) -> None:
    ids = tokens(40)
    with runner_of(gpt_oss, n_seq=2, n_ctx=256) as runner:
        single = np.stack([feed(runner, 0, ids[n : n + 1]) for n in range(40)])
    options = ContextOptions(n_ctx=256, n_seq=2, n_ubatch=16, n_threads=2, n_outputs=60)
    with LlamaRunner(gpt_oss, options) as runner:
        found = runner.decode(
            [
                Chunk(1, ids[:30], wants_logits=True, n_logits=10),
                Chunk(0, ids, wants_logits=True, n_logits=40),
            ]
        )
        np.testing.assert_allclose(found[:10], single[20:30], atol=0.02)
        np.testing.assert_allclose(found[10:], single, atol=0.02)
        with pytest.raises(ValueError, match="61 rows of logits exceed the 60 of the context"):
            runner.decode([Chunk(1, tokens(61), wants_logits=True, n_logits=61)])
        with pytest.raises(ValueError, match="2 tokens cannot give 3 rows"):
            runner.decode([Chunk(1, tokens(2), wants_logits=True, n_logits=3)])
