"""`ossctl bench`: loads the model by its plans and measures it."""

import datetime as dt
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from ossctl import __version__
from ossctl.app.bench.copying import copy_of, measure_copying
from ossctl.app.bench.first_token import StartedModel, measure_waits, words
from ossctl.app.bench.llama_bench import with_llama_bench
from ossctl.app.bench.llama_server import LlamaServer
from ossctl.app.bench.options import BenchOptions, Watcher
from ossctl.app.bench.passes import BareSide, EngineSide, Work
from ossctl.app.bench.results import BenchReport, Copying, Machine, Row, Subject, Tuning, Wait, noise_of
from ossctl.app.bench.rounds import MIN_ROUNDS, repeat
from ossctl.app.bench.tune import tune
from ossctl.app.inference.energy import EnergyMeter
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, load_model
from ossctl.app.local_date import local_date
from ossctl.app.placement.fingerprint import fingerprint_of
from ossctl.app.placement.fit import fit_of
from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.measured_speed import BatchSpeed, LengthSpeed, MeasuredSpeed, MeasuredSpeeds
from ossctl.app.placement.shapes import shape_of_file, shards_of
from ossctl.build.recipe import processor
from ossctl.errors import Interrupted, ModelError, OssctlError
from ossctl.planning.plan import Plan
from ossctl.planning.workload import Purpose, Workload
from ossctl.runtime.base import DecodeAborted, DecodeFailed
from ossctl.runtime.context import LlamaRunner

_FIRST = Work(1, 64, 8)
_COPIED = 128  # tokens
_BATCH_PROMPT = 32  # tokens
_WAIT_PROMPT = 512
_KEPT_SECONDS = 2.0  # that a prompt takes which is kept on disk for sure
_START_SECONDS = 1.0  # of the program, guessed
_SIDES = 2


def measure(options: BenchOptions, watcher: Watcher) -> BenchReport:
    """Measure a model. A signal ends this early, with what is complete by then.

    Raises ModelError, MemoryShortage, UsageError, and Interrupted if nothing was measured.
    """
    started = perf_counter()
    with Interrupt() as interrupt:
        bench = _Bench(options, watcher, interrupt)
        with suppress(Interrupted):
            bench.run()
        if not bench.lengths:
            interrupt.check("Nothing was measured.")
        return bench.report(perf_counter() - started)


class _Bench:
    """A benchmark on its way."""

    def __init__(self, options: BenchOptions, watcher: Watcher, interrupt: Interrupt) -> None:
        self._options, self._extent = options, options.extent
        self._watcher, self._interrupt = watcher, interrupt
        self._plans: dict[Purpose, Plan] = {}
        self._text, self._text_tokens = "", 0
        self._server = LlamaServer(options.path, watcher, interrupt) if self._extent.starts else None
        self.lengths: list[Row] = []
        self.batches: list[Row] = []
        self.copying: Copying | None = None
        self.waits: list[Wait] = []
        self.tuning: Tuning | None = None

    def run(self) -> None:
        """Measure everything. Raises Interrupted."""
        self._measure_lengths()
        self._interrupt.check()
        with self._tolerated("Not all numbers of sequences were measured"):
            self._measure_batches()
        self._interrupt.check()
        self._measure_waits()
        self._interrupt.check()
        if self._options.tune:
            plan = self._plans[Purpose.INTERACTIVE]
            with self._tolerated("Other settings were not measured"):
                self.tuning = tune(plan, self._options, self._watcher, self._interrupt)

    def report(self, seconds: float) -> BenchReport:
        batch_plan = self._plans.get(Purpose.BATCH)
        return BenchReport(
            date=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
            ossctl=__version__,
            llama_cpp=f"llama-cpp-python {version('llama-cpp-python')}",
            machine=_machine(),
            model=_subject(self._options),
            plan=_settings(self._plans[Purpose.INTERACTIVE]),
            batch_plan=_settings(batch_plan) if batch_plan and self.batches else None,
            lengths=self.lengths,
            batches=self.batches,
            copying=self.copying,
            waits=self.waits,
            tuning=self.tuning,
            noise=noise_of(self.lengths, self.batches),
            seconds=round(seconds, 1),
            signal=self._interrupt.signum,
        )

    def _measure_lengths(self) -> None:
        self._watcher.step("loading")
        with self._loaded(Workload(), self._options) as (loaded, runner):
            speeds = EngineSide(runner).run(_fitting(_FIRST, runner))
            prefill, generation = speeds.prefill.speed, speeds.generation.speed
            generated = max(8, min(self._extent.generated, int(generation)))
            works = [Work(1, n, generated) for n in self._extent.lengths if n + generated < runner.n_ctx_seq]
            works = works or [_fitting(_FIRST, runner)]
            works = works[:1] + [
                work for work in works[1:] if work.prompt_tokens / prefill < self._extent.slowest
            ]
            n_tokens = min(_WAIT_PROMPT, works[-1].prompt_tokens)
            self._write_text(loaded, max(n_tokens, int(_KEPT_SECONDS * prefill)))
            self._watcher.expects(self._expected(works, prefill, generation))
            for work in works:
                self._watcher.step(f"a prompt of {work.prompt_tokens:,} tokens")
                self.lengths += self._row(work, runner)
            self._measure_copying(loaded, runner, prefill, generation)
        settings, rounds = self._plans[Purpose.INTERACTIVE].settings, self._extent.starts
        if self._interrupt.keep_going():
            self.lengths = with_llama_bench(
                self._options.path, settings, self.lengths, rounds, self._interrupt
            )
        speed = tuple(
            LengthSpeed(row.prompt_tokens, row.prefill.ossctl.value, row.generation.ossctl.value)
            for row in self.lengths
        )
        self._remember(
            Purpose.INTERACTIVE,
            MeasuredSpeed(local_date().isoformat(), noise_of(self.lengths), lengths=speed),
        )

    def _measure_copying(
        self, loaded: LoadedModel, runner: LlamaRunner, prefill: float, generation: float
    ) -> None:
        """What drafts gain, where anything is drafted, at about so many tokens per second."""
        drafts, vocabulary = loaded.drafts, loaded.vocabulary
        if drafts is None or vocabulary is None or runner.recurrent or not self._interrupt.keep_going():
            return
        most_prompt = min(self._extent.slowest * prefill, runner.n_ctx_seq // 2)
        n_generated = int(self._extent.slowest * generation)
        if work := copy_of(vocabulary.tokenize, most_prompt, min(n_generated, _COPIED)):
            self._watcher.step("an answer that copies its prompt")
            effort, keep_going = self._extent.effort, self._interrupt.keep_going
            with self._abortable(runner):
                self.copying = measure_copying(runner, drafts, work, effort, keep_going)

    def _measure_batches(self) -> None:
        n_generated = min(self._extent.generated, 32)
        work = Work(1, _BATCH_PROMPT, n_generated)
        workload = Workload(Purpose.BATCH, request_tokens=work.cells)
        options = self._most_parallel(workload)
        if options is None:
            return
        with self._loaded(workload, options) as (_, runner):
            for n_seq in self._extent.sequences:
                if n_seq > runner.n_seq or self._too_slow(n_seq):
                    break
                self._watcher.step(f"{n_seq} sequences" if n_seq > 1 else "one sequence")
                self.batches += self._row(_fitting(replace(work, sequences=n_seq), runner), runner)
            n_vocab = runner.n_vocab
        settings = self._plans[Purpose.BATCH].settings
        if self._server is not None:
            self.batches = self._server.with_speeds(settings, self.batches, n_vocab, self._extent.effort)
        speed = tuple(BatchSpeed(row.sequences, row.generation.ossctl.value) for row in self.batches)
        self._remember(
            Purpose.BATCH,
            MeasuredSpeed(local_date().isoformat(), noise_of(batches=self.batches), batches=speed),
        )

    def _too_slow(self, n_seq: int) -> bool:
        """Whether a pass of so many sequences would take too long, at the speed of fewer."""
        if not self.batches:
            return False
        last = self.batches[-1]
        n_tokens = n_seq * last.generated_tokens
        return n_tokens / last.generation.ossctl.value > 2 * self._extent.slowest

    def _most_parallel(self, workload: Workload) -> BenchOptions | None:
        """Options for as many sequences as fit, or as the user wants; None if none fit."""
        options, shape = self._options, shape_of_file(self._options.path)
        wanted = options.loading.parallel
        machine = this_machine()
        for n_seq in [wanted] if wanted else reversed(self._extent.sequences):
            loading = replace(options.loading, parallel=n_seq)
            fit = fit_of(shape, machine, workload, loading.overrides(shape))
            if isinstance(fit, Plan):
                return replace(options, loading=loading)
        return None

    def _measure_waits(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path, loading = self._options.path, self._options.loading
            program = StartedModel(path, loading, Path(folder), self._interrupt)
            self._watcher.step("time to first token")
            rounds = self._extent.starts
            with self._tolerated("Not every time to the first token was measured"):
                self.waits += measure_waits(program, self._text, self._text_tokens, rounds)
        settings = self._plans[Purpose.INTERACTIVE].settings
        if self._server is not None:
            self.waits = self._server.with_waits(settings, self.waits, self._text, rounds)

    def _row(self, work: Work, runner: LlamaRunner) -> Iterator[Row]:
        """The speeds for `work`; nothing if it was interrupted in the first round."""
        meter = EnergyMeter.of_machine(self._plans[Purpose.INTERACTIVE].settings.devices)
        engine = EngineSide(runner, meter)
        with self._abortable(runner):
            bare = BareSide(runner, engine.run(work).generated)  # also warms up
            passes = repeat(work, {"ours": engine, "bare": bare}, self._extent.effort, self._keep_going)
            if passes["ours"]:
                yield Row.of(work, passes["ours"], passes["bare"])

    @contextmanager
    def _tolerated(self, what: str) -> Iterator[None]:
        """Whatever fails inside is a remark, so that earlier results are kept. Raises Interrupted."""
        try:
            yield
        except (OssctlError, DecodeFailed) as error:
            self._interrupt.check()
            self._watcher.remarks([f"{what}: {error}"])

    @contextmanager
    def _abortable(self, runner: LlamaRunner) -> Iterator[None]:
        """While entered, a signal aborts the decode, which ends the block."""
        self._interrupt.on_signal = runner.abort
        try:
            with suppress(DecodeAborted):
                yield
        finally:
            self._interrupt.on_signal = lambda: None

    def _keep_going(self) -> bool:
        return self._interrupt.keep_going()

    @contextmanager
    def _loaded(self, workload: Workload, options: BenchOptions) -> Iterator[tuple[LoadedModel, LlamaRunner]]:
        loading = replace(options.loading, cache_bytes=0)
        with load_model(options.path, loading, workload, self._interrupt, raw=True) as loaded:
            self._watcher.remarks(loaded.remarks)
            if loaded.plan is None or not isinstance(loaded.runner, LlamaRunner):
                raise ModelError(f"{loaded.name} was not loaded by a plan")
            self._plans[workload.purpose] = loaded.plan
            yield loaded, loaded.runner

    def _write_text(self, loaded: LoadedModel, n_tokens: int) -> None:
        """A prompt for the time to the first token."""
        vocabulary = loaded.vocabulary
        if vocabulary is None:
            raise ModelError(f"{loaded.name} has no vocabulary")
        most = min(n_tokens, loaded.runner.n_ctx_seq // 2)
        self._text = words(most, lambda text: len(vocabulary.tokenize(text)))
        self._text_tokens = len(vocabulary.tokenize(self._text))

    def _expected(self, works: list[Work], prefill: float, generation: float) -> float:
        """Seconds that the rest will take."""
        most, least = self._extent.effort.seconds, (MIN_ROUNDS + 1) * _SIDES
        passes = [work.prompt_tokens / prefill + work.generated_tokens / generation for work in works]
        lengths = sum(max(most, least * seconds) for seconds in passes)
        batches = len(self._extent.sequences) * max(most, least * works[0].generated_tokens / generation)
        start = _START_SECONDS + self._text_tokens / prefill
        waits = self._extent.starts * 3 * start
        if self._server is not None and self._server.installed:
            batches, waits = 2 * batches, waits * 4 / 3
        return lengths + batches + waits

    def _remember(self, purpose: Purpose, speed: MeasuredSpeed) -> None:
        if speed.lengths or speed.batches:
            MeasuredSpeeds.saved().remember(self._options.path, self._plans[purpose].settings, speed)


def _fitting(work: Work, runner: LlamaRunner) -> Work:
    """`work`, with a shorter prompt if the context is small."""
    space = runner.n_cells // work.sequences if runner.unified else runner.n_ctx_seq
    return replace(work, prompt_tokens=max(1, min(work.prompt_tokens, space - work.generated_tokens - 1)))


def _settings(plan: Plan) -> dict[str, Any]:
    settings: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(plan.settings))
    return settings


def _machine() -> Machine:
    machine = this_machine()
    names = processor().split(" | ")
    return Machine(
        processor=names[1] if len(names) > 1 else names[0],
        cores=machine.cores,
        ram_bytes=machine.ram_total,
        devices=[f"{device.name} ({device.description})" for device in machine.devices],
    )


def _subject(options: BenchOptions) -> Subject:
    shards = shards_of(options.path)
    return Subject(
        name=options.name,
        file=options.path.name,
        bytes=sum(shard.stat().st_size for shard in shards),
        fingerprint=fingerprint_of(shards).hex(),
    )
