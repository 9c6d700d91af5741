"""How fast a loaded model reads a prompt and writes an answer."""

import statistics
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np

from ossctl.runtime.base import Chunk, Runner

_PROBE = 32  # tokens: enough for the kernels of prompts
_GENERATED = 64
_ROUNDS = 5
_LEAST_PROMPT = 512


@dataclass(frozen=True)
class Speed:
    """Tokens a second, for a prompt of `prompt_tokens` and for `generated_tokens` one by one behind it."""

    prompt_tokens: int
    prompt_speed: float
    generated_tokens: int
    generation_speed: float

    def __str__(self) -> str:
        prompt = f"prompt ({self.prompt_tokens:,}) {_shown(self.prompt_speed)}"
        return f"{prompt}, generation {_shown(self.generation_speed)} tokens/s"

    def as_record(self) -> dict[str, float]:
        return asdict(self)


def measure(runner: Runner, seconds: float) -> Speed:
    """Measure each of both for about so long; a prompt of a whole ubatch if that can be read in this time."""
    rng = np.random.default_rng(0)
    _decode(runner, rng, _PROBE)  # what a driver does once
    runner.rollback(0, 0)
    rate = _PROBE / _decode(runner, rng, _PROBE)
    room = runner.n_ctx_seq - _GENERATED - 1
    n_tokens = max(_PROBE, min(max(runner.n_ubatch, _LEAST_PROMPT), room, int(rate * seconds)))
    rounds: list[float] = []
    started = perf_counter()
    while len(rounds) < _ROUNDS and (not rounds or perf_counter() - started < seconds):
        runner.rollback(0, 0)
        rounds.append(_decode(runner, rng, n_tokens))
    count, taken = _generate(runner, seconds)
    return Speed(n_tokens, n_tokens / statistics.median(rounds), count, count / taken)


def _decode(runner: Runner, rng: np.random.Generator, n_tokens: int) -> float:
    """Seconds to read so many tokens."""
    tokens = rng.integers(0, runner.n_vocab, n_tokens).astype(np.int32)
    started = perf_counter()
    for start in range(0, n_tokens, runner.n_batch):
        piece = tokens[start : start + runner.n_batch]
        runner.decode([Chunk(0, piece, wants_logits=start + len(piece) == n_tokens)])
    return perf_counter() - started


def _generate(runner: Runner, seconds: float) -> tuple[int, float]:
    """Tokens written, and the seconds that it took."""
    token, count = np.zeros(1, np.int32), 0
    started = perf_counter()
    while count < _GENERATED and (not count or perf_counter() - started < seconds):
        token[0] = runner.decode([Chunk(0, token, wants_logits=True)])[0].argmax()
        count += 1
    return count, perf_counter() - started


def _shown(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"
