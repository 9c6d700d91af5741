"""`make bench-eval`: what Inspect AI costs beside `ossctl batch`, on the same prompts.

    python -m benchmarks.eval [--rounds 5]

Both sides take turns over one loaded model. An eval is everything from `inspect_ai.eval()` to the log that is
written: samples, transcripts, a scorer.
"""

import argparse
import functools
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inspect_ai import Task, eval  # noqa: A004 (Inspect's name)
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.line_runner import Codec, Rules
from ossctl.app.batch.records import ModelIdentity, ResultRecords
from ossctl.app.batch.runner import BatchRunner
from ossctl.app.eval.inspect.engine import AsyncEngine
from ossctl.app.eval.inspect.provider import provider_for
from ossctl.app.eval.inspect.settings import ProviderSettings
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, load_model
from ossctl.app.library.resolve import NANO_FILE
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.wire.lines import read_lines
from ossctl.engine.request import Sampling
from ossctl.planning.workload import Purpose, Workload
from ossctl.storage.journal import FilePolicy, OutputFile
from tests.support.models import smollm2

_GOAL = 0.95
_MAX_TOKENS = 200
_SETTINGS = ProviderSettings(Defaults(max_tokens=_MAX_TOKENS, sampling=Sampling(temperature=0)))
_QUESTIONS = (
    "What is {n} plus {m}?",
    "What is {n} minus {m}?",
    "Count from {m} to {n}, and say what you did.",
)


@dataclass(frozen=True)
class Figures:
    """Of one run; CPU time is of all threads."""

    tokens: int
    seconds: float
    cpu_seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def timed(run: Callable[[], int]) -> Figures:
    """Time `run`, which returns the tokens that it has generated."""
    started, cpu = time.perf_counter(), os.times()
    tokens = run()
    seconds, after = time.perf_counter() - started, os.times()
    return Figures(tokens, seconds, after.user + after.system - cpu.user - cpu.system)


def run_batch(model: LoadedModel, prompts: list[str], folder: Path) -> int:
    lines = "\n".join(json.dumps({"prompt": prompt}) for prompt in prompts).encode()
    defaults = _SETTINGS.for_model(model).defaults
    records = ResultRecords(ModelIdentity(model.name, b"", model.piece))
    with (
        OutputFile(FilePolicy(folder / "out.jsonl"), overwrite=True) as file,
        file.journal() as journal,
        Interrupt() as interrupt,
    ):
        batch = BatchRunner(model, Codec(LineParser(defaults), records), journal, lambda _: None, Rules())
        return batch.run(read_lines(io.BytesIO(lines)), interrupt).completion_tokens


def run_eval(model: LoadedModel, prompts: list[str], folder: Path) -> int:
    samples = [Sample(input=prompt, target="2") for prompt in prompts]
    task = Task(MemoryDataset(samples), solver=generate(), scorer=includes(), name="bench")
    with AsyncEngine(model) as engine:
        inspects = provider_for(engine, _SETTINGS)
        (log,) = eval(task, model=inspects, log_dir=str(folder), display="none", log_realtime=False)
    assert log.status == "success", log.error
    return sum(usage.output_tokens for usage in log.stats.model_usage.values())


def compare(path: Path, n_prompts: int, rounds: int, folder: Path) -> None:
    prompts = [_QUESTIONS[n % len(_QUESTIONS)].format(n=n % 90 + 10, m=n % 7 + 1) for n in range(n_prompts)]
    workload = Workload(Purpose.BATCH, n_prompts)
    figures: dict[str, list[Figures]] = {"batch": [], "eval": []}
    with Interrupt() as interrupt, load_model(path, LoadOptions(), workload, interrupt) as model:
        sides = {
            "batch": functools.partial(run_batch, model, prompts, folder),
            "eval": functools.partial(run_eval, model, prompts, folder),
        }
        for turn in range(rounds + 1):
            for name, run in sides.items():
                measured = timed(run)
                if turn:  # the first one imports and warms up
                    figures[name].append(measured)
        print(f"{path.stem}: {n_prompts} prompts, {model.runner.n_seq} sequences")
    report(figures)


def report(figures: dict[str, list[Figures]]) -> None:
    base = statistics.median(each.tokens_per_second for each in figures["batch"])
    for name, of in figures.items():
        speed = statistics.median(each.tokens_per_second for each in of)
        wall, cpu = (
            statistics.median(getattr(each, key) for each in of) for key in ("seconds", "cpu_seconds")
        )
        met = "" if name == "batch" else f"   goal {_GOAL}: {'met' if speed / base >= _GOAL else 'missed'}"
        print(f"{name:6} {speed:8.1f} tokens/s {wall:7.2f} s {cpu:7.2f} s CPU   {speed / base:.3f}{met}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as found:
        compare(NANO_FILE, 200, options.rounds, Path(found))
        compare(smollm2(), 60, options.rounds, Path(found))


if __name__ == "__main__":
    main()
