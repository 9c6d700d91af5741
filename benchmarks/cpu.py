"""What llama.cpp's faster kernels and its two kinds of attention are worth on this CPU: `make bench-cpu`.

All figures are of SmolLM2-135M (Q4_1) in one run, in turns: the median of rounds.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from ossctl.app.placement.kernel_trial import run_trial
from ossctl.build.recipe import processor
from ossctl.runtime.base import Chunk
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.devices import system_info
from ossctl.runtime.library import compiler, cpu_library
from ossctl.runtime.model import LlamaModel, ModelOptions
from tests.support.models import smollm2

_ROUNDS, _ATTENTION_ROUNDS = 5, 3
_WRITTEN = 16  # tokens
_GOAL = 3.5  # prompts with AMX against those without


@dataclass(frozen=True)
class Speed:
    """Tokens a second."""

    read: float
    written: float


@contextmanager
def loaded(*, repack: bool, flash: bool, n_tokens: int) -> Iterator[LlamaRunner]:
    """SmolLM2 with room for a prompt of `n_tokens` and an answer."""
    options = ContextOptions(n_tokens + _WRITTEN, n_batch=512, flash_attention=flash)
    with (
        LlamaModel(smollm2(), ModelOptions(0, (), repack=repack)) as model,
        LlamaRunner(model, options) as runner,
    ):
        yield runner


def speed(runner: LlamaRunner, n_tokens: int) -> Speed:
    """Of a prompt of `n_tokens`, and of single tokens behind it."""
    runner.rollback(0, 0)
    tokens = np.random.default_rng(0).integers(1_000, 40_000, n_tokens, np.int32)
    started = perf_counter()
    for start in range(0, n_tokens, 512):
        runner.decode([Chunk(0, tokens[start : start + 512], wants_logits=True)])
    read = perf_counter()
    for token in tokens[:_WRITTEN]:
        runner.decode([Chunk(0, np.array([token], np.int32), wants_logits=True)])
    return Speed(n_tokens / (read - started), _WRITTEN / (perf_counter() - read))


def compare(n_tokens: int, n_rounds: int, *ways: dict[str, bool]) -> list[Speed]:
    """The median speed of each way, tried in turns."""
    with ExitStack() as parts:
        runners = [parts.enter_context(loaded(n_tokens=n_tokens, **way)) for way in ways]
        rounds = [[speed(runner, n_tokens) for runner in runners] for _ in range(n_rounds)]
    return [
        Speed(median(each.read for each in way), median(each.written for each in way))
        for way in zip(*rounds, strict=True)
    ]


def main() -> None:
    """Print the trial's verdict and the ratios."""
    amx = "with AMX" if "AMX_INT8 = 1" in system_info() else "without AMX"
    print(f"{processor().split(' | ')[1]}, {compiler(cpu_library())}, a build {amx}")
    trial = run_trial()
    found = trial.problems.get("cpu-extra") or trial.untested.get("cpu-extra") or "correct"
    print(f"the optimised kernels in a trial: {found}")
    if trial.extra_kernels:
        fast, plain = compare(512, _ROUNDS, {"repack": True, "flash": True}, {"repack": False, "flash": True})
        goal = f" (goal with AMX: {_GOAL})" if amx == "with AMX" else ""
        ratio = f"{fast.read / plain.read:.2f}x{goal}"
        print(f"a prompt of 512: {fast.read:,.0f} and {plain.read:,.0f} tokens/s, {ratio}")
        print(f"single tokens behind it: {fast.written:,.1f} and {plain.written:,.1f} tokens/s")
    print("attention: flash and plain, tokens/s of a prompt, and of single tokens behind it")
    for n_tokens in (512, 2_048, 4_096):
        way = {"repack": trial.extra_kernels}
        flash, plain = compare(n_tokens, _ATTENTION_ROUNDS, {**way, "flash": True}, {**way, "flash": False})
        print(
            f"{n_tokens:>7,}  {flash.read:6,.0f} {plain.read:6,.0f} ({flash.read / plain.read:.2f}x)"
            f"  {flash.written:6.1f} {plain.written:6.1f} ({flash.written / plain.written:.2f}x)"
        )


if __name__ == "__main__":
    main()
