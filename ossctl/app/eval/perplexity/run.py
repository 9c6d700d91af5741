"""Measures models on a text, one after the other, each alone in memory."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Protocol

import msgspec

from ossctl.app.eval.perplexity.base_file import BaseFile
from ossctl.app.eval.perplexity.decoding import ChunkDecoder, rows_per_chunk
from ossctl.app.eval.perplexity.log_probs import Blocks
from ossctl.app.eval.perplexity.measures import BaseMeasure, DistanceMeasure, Measure, PerplexityMeasure
from ossctl.app.eval.perplexity.statistics import Divergence, Estimate
from ossctl.app.eval.perplexity.text import Text, TokenChunks, opened_text
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, load_model
from ossctl.app.placement.load_options import MAX_CTX, LoadOptions
from ossctl.app.placement.shapes import shape_of_file
from ossctl.errors import Interrupted, ModelError, OssctlError, UsageError
from ossctl.planning.workload import Purpose, Workload
from ossctl.runtime.base import DecodeFailed, Tokens
from ossctl.runtime.gguf import read_header, split_files, vocabulary_digest
from ossctl.settings import Paths

DEFAULT_CTX = 512  # as llama-perplexity's
_MIN_CTX = 8
_BATCH = 4_096  # tokens of several chunks: with experts in RAM, these are copied to a GPU once per ubatch
_MAX_PARALLEL = 64
_BYTES_PER_TOKEN = 4  # of text, roughly


@dataclass(frozen=True)
class NamedModel:
    """A model's name as the user gave it, and its first file."""

    name: str
    path: Path


@dataclass(frozen=True)
class PerplexityOptions:
    """Which models to measure on which text; `-` is stdin. `base` is the model to compare them with.

    `chunks` limits the text, and `loading.ctx` is the size of a chunk.
    """

    models: Sequence[NamedModel]
    text: Path
    base: NamedModel | None = None
    chunks: int | None = None
    loading: LoadOptions = LoadOptions()  # noqa: RUF009 (it is frozen)


class ModelResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of a model on `tokens` scored tokens.

    `bytes` is the size of its files; `seconds` do not include loading.
    """

    model: str
    file: str
    bytes: int
    perplexity: Estimate
    tokens: int
    chunks: int
    divergence: Divergence | None = None
    seconds: float


class PerplexityReport(msgspec.Struct, frozen=True, kw_only=True):
    """All results. If `signal` is not 0, it ended the last of them early, and others are missing."""

    text: str
    text_bytes: int
    ctx: int
    base: ModelResult | None
    results: tuple[ModelResult, ...]
    signal: int


@dataclass(frozen=True)
class Progress:
    """What has been measured of a model so far, of `expected` chunks (an estimate for long texts)."""

    model: str
    chunks: int
    expected: int
    seconds: float
    perplexity: Estimate
    kl_divergence: Estimate | None = None


class Watcher(Protocol):
    """Shows what happens."""

    def loads(self, model: str) -> None:
        """A model is going to be loaded."""

    def remarks(self, remarks: Sequence[str]) -> None:
        """What the user should know about the model that has been loaded."""

    def progress(self, progress: Progress) -> None:
        """Some more chunks are complete."""


def measure_models(options: PerplexityOptions, watcher: Watcher) -> PerplexityReport:
    """Measure all models.

    A signal ends this early, with what is complete by then. Raises UsageError for a text that cannot be used,
    ModelError, MemoryShortage, and Interrupted if not a single chunk is complete.
    """
    _check_vocabularies(options)
    n_ctx = _n_ctx(options)
    with opened_text(options.text) as text, Interrupt() as interrupt, ExitStack() as stack:
        run = _Run(options, text, n_ctx, watcher, interrupt)
        base = run.measure_base(options.base, stack) if options.base is not None else None
        results: list[ModelResult] = []
        with suppress(Interrupted):  # of a load
            for model in options.models:
                interrupt.check()
                results += filter(None, [run.measure(model)])
        if base is None and not results:
            interrupt.check("No chunk was complete.")
        return PerplexityReport(
            text=text.name,
            text_bytes=text.n_bytes,
            ctx=n_ctx,
            base=base,
            results=tuple(results),
            signal=interrupt.signum,
        )


class _Run:
    def __init__(
        self, options: PerplexityOptions, text: Text, n_ctx: int, watcher: Watcher, interrupt: Interrupt
    ) -> None:
        self._options, self._text, self._n_ctx = options, text, n_ctx
        self._watcher, self._interrupt = watcher, interrupt
        self._file: BaseFile | None = None

    def measure_base(self, model: NamedModel, stack: ExitStack) -> ModelResult | None:
        """Measure the base model. What it computes is in a file until `stack` is closed."""
        with self._loaded(model) as loaded, _blocks(loaded) as blocks:
            chunks = self._chunks(loaded)
            folder, n_rows = Paths.from_environment().cache, rows_per_chunk(self._n_ctx)
            file = stack.enter_context(BaseFile(folder, loaded.runner.n_vocab, n_rows))
            file.check_space(chunks.expected)
            self._file = file
            return self._measure(model, loaded, chunks, BaseMeasure(blocks, file))

    def measure(self, model: NamedModel) -> ModelResult | None:
        """Measure a model, and its distance from the base model if there is one."""
        with self._loaded(model) as loaded, _blocks(loaded) as blocks:
            if self._file is not None:
                return self._measure(model, loaded, self._file, DistanceMeasure(blocks, self._file))
            return self._measure(model, loaded, self._chunks(loaded), PerplexityMeasure(blocks))

    def _measure(
        self, model: NamedModel, loaded: LoadedModel, chunks: TokenChunks | BaseFile, measure: Measure
    ) -> ModelResult | None:
        """The result, of fewer chunks if interrupted; None without any."""
        started, distances = perf_counter(), measure.distances
        for _ in self._decoded(loaded, chunks, measure):
            expected = chunks.expected if isinstance(chunks, TokenChunks) else len(chunks)
            seconds = perf_counter() - started
            mean = distances.mean if distances else None
            sums = measure.sums
            self._watcher.progress(
                Progress(model.name, sums.chunks, expected, seconds, sums.perplexity, mean)
            )
            if not self._interrupt.keep_going():
                break
        if not measure.sums.chunks:
            return None
        return ModelResult(
            model=model.name,
            file=model.path.name,
            bytes=_size(model.path),
            perplexity=measure.sums.perplexity,
            tokens=measure.sums.tokens,
            chunks=measure.sums.chunks,
            divergence=distances.result() if distances else None,
            seconds=perf_counter() - started,
        )

    def _decoded(self, loaded: LoadedModel, chunks: Iterable[Tokens], measure: Measure) -> Iterator[int]:
        self._interrupt.on_signal = loaded.runner.abort
        try:
            if self._interrupt.keep_going():
                yield from ChunkDecoder(loaded.runner, self._n_ctx).run(chunks, measure)
        except DecodeFailed as error:
            raise OssctlError(f"{loaded.name} cannot be measured: {error}") from None
        finally:
            self._interrupt.on_signal = lambda: None

    def _chunks(self, loaded: LoadedModel) -> TokenChunks:
        if loaded.vocabulary is None:
            raise ModelError(f"{loaded.name} has no vocabulary")
        return TokenChunks(self._text, loaded.vocabulary, self._n_ctx, self._options.chunks)

    @contextmanager
    def _loaded(self, model: NamedModel) -> Iterator[LoadedModel]:
        self._watcher.loads(model.name)
        loading, n_ctx = self._options.loading, self._n_ctx
        parallel = loading.parallel or max(1, _BATCH // n_ctx)
        options = replace(loading, ctx=n_ctx, parallel=min(parallel, _MAX_PARALLEL), cache_bytes=0)
        requests = self._options.chunks or self._text.n_bytes // (_BYTES_PER_TOKEN * n_ctx)
        workload = Workload(
            Purpose.BATCH,
            requests=max(1, requests),
            request_tokens=n_ctx,
            prompt_tokens=n_ctx,
            answer_tokens=0,
            all_logits=True,
            plain_attention=False,  # as in llama-perplexity: both kinds round differently, by 0.1 %
        )
        with load_model(model.path, options, workload, self._interrupt, raw=True) as loaded:
            self._watcher.remarks(loaded.remarks)
            yield loaded


@contextmanager
def _blocks(loaded: LoadedModel) -> Iterator[Blocks]:
    blocks = Blocks(loaded.runner.n_threads)
    try:
        yield blocks
    finally:
        blocks.close()


def _check_vocabularies(options: PerplexityOptions) -> None:
    """Raise UsageError if a model and the base model have different tokens."""
    base = options.base
    if base is None:
        return
    expected = vocabulary_digest(base.path)
    for model in options.models:
        if vocabulary_digest(model.path) != expected:
            raise UsageError(
                f"{model.name} has a different vocabulary from {base.name}",
                "The KL divergence is between quantisations or finetunes of one model; "
                "without --against, each model's perplexity is measured.",
            )


def _n_ctx(options: PerplexityOptions) -> int:
    """Tokens per chunk. Raises UsageError."""
    wanted = options.loading.ctx or DEFAULT_CTX
    if wanted == MAX_CTX:
        models = [*options.models, *filter(None, [options.base])]
        return min(shape_of_file(model.path).n_ctx_train for model in models)
    if int(wanted) < _MIN_CTX:
        raise UsageError(f"--ctx {wanted} is too small to measure perplexity", f"Use {_MIN_CTX} or more.")
    return int(wanted)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in split_files(path, read_header(path)))
