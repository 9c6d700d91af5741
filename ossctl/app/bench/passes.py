"""One pass of a measurement: prompts of one length in one or several sequences, then tokens behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Protocol

import numpy as np

from ossctl.app.inference.energy import EnergyMeter
from ossctl.engine.drafts import DraftOptions
from ossctl.engine.engine import Engine
from ossctl.engine.request import EngineStats, Generated, Request, Sampling
from ossctl.errors import OssctlError
from ossctl.runtime.bare_decode import BareDecoder
from ossctl.runtime.base import Runner, Tokens
from ossctl.runtime.context import LlamaRunner


@dataclass(frozen=True)
class Work:
    """`sequences` prompts of `prompt_tokens`, and `generated_tokens` behind each of them.

    All have the same `prompt`; if that is empty, prompts of random tokens, the same in every pass.
    """

    sequences: int
    prompt_tokens: int
    generated_tokens: int
    temperature: float = Sampling.temperature
    prompt: tuple[int, ...] = ()

    @property
    def cells(self) -> int:
        """Tokens of one sequence at the end."""
        return self.prompt_tokens + self.generated_tokens + 1

    def prompts(self, n_vocab: int) -> list[Tokens]:
        if self.prompt:
            return [np.array(self.prompt, np.int32)] * self.sequences
        rng = np.random.default_rng(self.sequences)
        return [*rng.integers(n_vocab // 50, n_vocab, (self.sequences, self.prompt_tokens), np.int32)]


@dataclass(frozen=True)
class Phase:
    """Tokens of all sequences, and the time that they took: `cpu` is that of all threads of this process."""

    tokens: int
    seconds: float
    cpu: float
    joules: float | None = None

    @property
    def speed(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Pass:
    """Both phases of a pass, and what was generated: int32 [n, sequences]."""

    prefill: Phase
    generation: Phase
    generated: Tokens

    @property
    def seconds(self) -> float:
        return self.prefill.seconds + self.generation.seconds


class _Clock:
    """Measures phases, one after the other."""

    def __init__(self, meter: EnergyMeter | None = None) -> None:
        self._meter = meter
        self._start()

    def phase(self, n_tokens: int) -> Phase:
        """The phase that ends now; the next one begins."""
        seconds, cpu = perf_counter() - self._seconds, process_time() - self._cpu
        before, now = self._energy, self._read()
        self._start()
        return Phase(n_tokens, seconds, cpu, None if before is None or now is None else now - before)

    def _start(self) -> None:
        self._energy = self._read()
        self._seconds, self._cpu = perf_counter(), process_time()

    def _read(self) -> float | None:
        energy = self._meter.read() if self._meter else None
        return energy.joules if energy else None


class Side(Protocol):
    """Something that can do the work."""

    def run(self, work: Work) -> Pass:
        """Do it once. Raises DecodeFailed, DecodeAborted."""


class EngineSide:
    """The engine, with the sampling that is the default everywhere."""

    def __init__(
        self, runner: Runner, meter: EnergyMeter | None = None, drafts: DraftOptions | None = None
    ) -> None:
        self._engine = Engine(runner, drafts=drafts)
        self._n_vocab = runner.n_vocab
        self._meter = meter

    @property
    def stats(self) -> EngineStats:
        """Totals of all passes."""
        return self._engine.stats

    def run(self, work: Work) -> Pass:
        """Submit all prompts at once; the generation begins when each has its first token."""
        try:
            return self._measure(self._engine, work)
        finally:
            self._engine.clear()

    def _measure(self, engine: Engine, work: Work) -> Pass:
        answers: dict[str, list[int]] = {str(n): [] for n in range(work.sequences)}
        for (name, _), prompt in zip(answers.items(), work.prompts(self._n_vocab), strict=True):
            sampling = Sampling(temperature=work.temperature, seed=int(name))
            engine.submit(Request(name, prompt, work.generated_tokens + 1, sampling, checkpoint=False))
        clock = _Clock(self._meter)
        while not all(answers.values()):
            _take(engine, answers)
        prefill = clock.phase(work.sequences * work.prompt_tokens)
        before = sum(map(len, answers.values()))
        while all(len(answer) <= work.generated_tokens for answer in answers.values()):
            _take(engine, answers)
        generation = clock.phase(sum(map(len, answers.values())) - before)
        rows = zip(*(answer[: work.generated_tokens] for answer in answers.values()), strict=False)
        return Pass(prefill, generation, np.array([*rows], np.int32))


def _take(engine: Engine, answers: dict[str, list[int]]) -> None:
    for output in engine.step():
        if not isinstance(output, Generated):
            raise OssctlError(f"the benchmark failed: {output}")
        answers[output.id].append(output.token)


class BareSide:
    """llama.cpp alone: the tokens that the engine generated, decoded in the same context without sampling."""

    def __init__(self, runner: LlamaRunner, generated: Tokens) -> None:
        self._runner = runner
        self._generated = generated

    def run(self, work: Work) -> Pass:
        bare = BareDecoder(self._runner)
        prompts: Sequence[Tokens] = work.prompts(self._runner.n_vocab)
        try:
            clock = _Clock()
            bare.prefill(prompts)
            prefill = clock.phase(work.sequences * work.prompt_tokens)
            bare.generate(self._generated, work.prompt_tokens)
            return Pass(prefill, clock.phase(self._generated.size), self._generated)
        finally:
            bare.clear()
