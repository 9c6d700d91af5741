"""Chunks are decoded with the same result one by one, together and in parts, with windows and without."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

from ossctl.app.eval.perplexity.base_file import BaseFile
from ossctl.app.eval.perplexity.decoding import ChunkDecoder, rows_per_chunk
from ossctl.app.eval.perplexity.log_probs import Blocks
from ossctl.app.eval.perplexity.measures import BaseMeasure, DistanceMeasure, PerplexityMeasure
from ossctl.errors import OssctlError, UsageError
from ossctl.runtime.base import Chunk, DecodeAborted, Logits, Tokens
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel

N_CTX = 48
N_CHUNKS = 4


@pytest.fixture(scope="module")
def chunks() -> list[Tokens]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, N_CTX, dtype=np.int32) for _ in range(N_CHUNKS)]


@pytest.fixture
def blocks() -> Iterator[Blocks]:
    found = Blocks(2)
    yield found
    found.close()


@contextmanager
def runner_of(model: LlamaModel, n_seq: int, n_ubatch: int) -> Iterator[LlamaRunner]:
    options = ContextOptions(
        n_ctx=256, n_seq=n_seq, n_batch=max(n_ubatch, 256), n_ubatch=n_ubatch, n_threads=2, n_outputs=256
    )
    with LlamaRunner(model, options) as runner:
        yield runner


@pytest.fixture(scope="module")
def by_hand(gpt_oss: LlamaModel, chunks: list[Tokens]) -> float:
    """The perplexity from one decode per token."""
    found = []
    with runner_of(gpt_oss, 1, 64) as runner:
        for chunk in chunks:
            for at, token in enumerate(chunk[:-1]):
                (row,) = runner.decode([Chunk(0, np.array([token], np.int32), wants_logits=True)]).astype(
                    float
                )
                if at >= N_CTX // 2:
                    found.append(
                        float(row[chunk[at + 1]] - row.max() - np.log(np.exp(row - row.max()).sum()))
                    )
            runner.rollback(0, 0)
    return float(np.exp(-np.mean(found)))


@pytest.mark.parametrize(("n_seq", "n_ubatch"), [(1, 64), (3, 200), (4, 20), (1, 7), (3, 48)])
def test_together_and_in_parts_chunks_have_the_perplexity_of_token_by_token(
    gpt_oss: LlamaModel, chunks: list[Tokens], blocks: Blocks, by_hand: float, n_seq: int, n_ubatch: int
) -> None:
    measure = PerplexityMeasure(blocks)
    with runner_of(gpt_oss, n_seq, n_ubatch) as runner:
        done = [*ChunkDecoder(runner, N_CTX).run(chunks, measure)]
    assert done[-1] == measure.sums.chunks == N_CHUNKS
    assert measure.sums.tokens == N_CHUNKS * rows_per_chunk(N_CTX)
    assert measure.sums.perplexity.value == pytest.approx(by_hand, rel=1e-3)


def test_a_model_is_at_no_distance_from_itself_decoded_in_another_way(
    gpt_oss: LlamaModel, chunks: list[Tokens], blocks: Blocks, tmp_path: Path
) -> None:
    with BaseFile(tmp_path / "cache", gpt_oss.n_vocab, rows_per_chunk(N_CTX)) as file:
        base = BaseMeasure(blocks, file)
        with runner_of(gpt_oss, 3, 200) as runner:
            assert [*ChunkDecoder(runner, N_CTX).run(chunks, base)] == [3, 4]
        measure = DistanceMeasure(blocks, file)
        with runner_of(gpt_oss, 1, 20) as runner:
            assert [*ChunkDecoder(runner, N_CTX).run(file, measure)] == [1, 2, 3, 4]
    assert measure.distances is not None
    found = measure.distances.result()
    assert found.base_perplexity == base.sums.perplexity
    assert measure.sums.perplexity.value == pytest.approx(base.sums.perplexity.value, rel=1e-3)
    assert abs(found.kl_divergence.value) < 1e-4
    assert found.same_top.value > 0.95
    assert [*(tmp_path / "cache").iterdir()] == []


class Random:
    """A runner that needs no model: each row depends on its token and on `seed` alone. It ends at `limit`."""

    n_vocab, n_seq, n_ubatch = 97, 2, 32

    def __init__(self, seed: int = 0, limit: int = 100) -> None:
        table = np.random.default_rng(0).standard_normal((97, 97), dtype=np.float32)
        self.table = table + np.random.default_rng(seed).standard_normal((97, 97), dtype=np.float32) * 0.3
        self.limit = limit

    def decode(self, chunks: list[Chunk]) -> Logits:
        self.limit -= 1
        if self.limit < 0:
            raise DecodeAborted({})
        return np.concatenate([self.table[chunk.tokens[-chunk.n_logits :]] for chunk in chunks])

    def rollback(self, seq: int, n_tokens: int) -> None:
        pass


def plain(table: npt.NDArray[np.float32], tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    rows = table[tokens].astype(np.float64)
    found: npt.NDArray[np.float64] = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return found


def test_a_distance_is_that_of_a_direct_computation(blocks: Blocks, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    chunks = [rng.integers(0, 97, 16, dtype=np.int32) for _ in range(6)]
    first, second = Random(1), Random(2)
    with BaseFile(tmp_path, 97, rows_per_chunk(16)) as file:
        [*ChunkDecoder(first, 16).run(chunks, BaseMeasure(blocks, file))]  # type: ignore[arg-type]
        measure = DistanceMeasure(blocks, file)
        [*ChunkDecoder(second, 16).run(file, measure)]  # type: ignore[arg-type]
    context = np.concatenate([chunk[8:-1] for chunk in chunks])
    targets = np.concatenate([chunk[9:] for chunk in chunks])
    base, own = plain(first.table, context), plain(second.table, context)
    at = np.arange(len(targets)), targets
    assert measure.distances is not None
    found = measure.distances.result()
    assert measure.sums.perplexity.value == pytest.approx(np.exp(-own[at].mean()), rel=1e-6)
    assert found.base_perplexity.value == pytest.approx(np.exp(-base[at].mean()), rel=1e-6)
    divergences = (np.exp(base) * (base - own)).sum(axis=1)
    assert found.kl_divergence.value == pytest.approx(divergences.mean(), rel=1e-3)
    assert found.kl_percentiles["100"] == pytest.approx(divergences.max(), rel=1e-3)
    assert found.rms_delta_p.value == pytest.approx(
        np.sqrt(np.mean((np.exp(own[at]) - np.exp(base[at])) ** 2))
    )
    assert found.same_top.value == np.mean(base.argmax(axis=1) == own.argmax(axis=1))


def test_an_abort_keeps_the_chunks_that_are_complete(blocks: Blocks) -> None:
    chunks = [np.zeros(16, np.int32)] * 6
    measure = PerplexityMeasure(blocks)
    assert [*ChunkDecoder(Random(limit=2), 16).run(chunks, measure)] == [2, 4]  # type: ignore[arg-type]
    assert measure.sums.chunks == 4


def test_values_that_are_not_numbers_are_refused(blocks: Blocks) -> None:
    runner = Random()
    runner.table[3] = np.nan
    with pytest.raises(OssctlError, match="not finite numbers"):
        [*ChunkDecoder(runner, 16).run([np.full(16, 3, np.int32)], PerplexityMeasure(blocks))]  # type: ignore[arg-type]


def test_a_disk_without_space_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = (1 << 30) + 3_000_000_000  # a GiB is left free
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    with BaseFile(tmp_path, 200_000, 255) as file:
        file.check_space(29)
        with pytest.raises(
            UsageError, match=r"for 100 chunks need 10\.2 GB, but .* has 3\.0 GB to spare"
        ) as error:
            file.check_space(100)
    assert error.value.hint.startswith("Use --chunks 29,")
