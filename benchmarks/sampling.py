"""`make bench-sampling`: what penalties and other samplers cost a batch.

    python -m benchmarks.sampling [--rounds 5] [--against FOLDER]

A model of thin layers with gpt-oss's whole vocabulary, so that sampling is a large part of the work: 32
sequences on one thread. Speeds are per second of CPU time, which other programs hardly disturb. `--against`
is the root of another checkout, whose engine runs the plain kind as well: `before`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.models import numbered_gpt_oss

_KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "repetition_penalty": {"repetition_penalty": 1.1},
    "dry": {"dry_multiplier": 0.8},
    "top_n_sigma": {"top_n_sigma": 1.0},
    "xtc": {"xtc_probability": 0.5},
    "min_p": {"min_p": 0.05},
}
_GOALS = {"plain": 0.99, "frequency_penalty": 0.9}

_ENGINE = """
import json, sys, time
from pathlib import Path
import numpy as np
from ossctl.engine.engine import Engine
from ossctl.engine.request import Request, Sampling
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel

def tokens_per_second(runner, sampling):
    engine, rng = Engine(runner), np.random.default_rng(0)
    for number in range(32):
        prompt = rng.integers(1000, 40_000, 64).astype(np.int32)
        engine.submit(Request(str(number), prompt, 64, Sampling(seed=number, **sampling)))
    engine.step()
    started = time.process_time()
    while engine.busy:
        engine.step()
    return engine.stats.generated_tokens / (time.process_time() - started)

model, kinds = json.loads(sys.argv[1])
with LlamaModel(Path(model)) as model:
    for name, sampling in kinds.items():
        with LlamaRunner(model, ContextOptions(n_ctx=256, n_seq=32, n_threads=1)) as runner:
            kinds[name] = tokens_per_second(runner, sampling)
print(json.dumps(kinds))
"""


def measure(model: Path, kinds: dict[str, dict[str, Any]], root: Path) -> dict[str, float]:
    """Tokens a second of each kind, by the engine of the checkout at `root`."""
    command = [sys.executable, "-c", _ENGINE, json.dumps([str(model), kinds])]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    speeds: dict[str, float] = json.loads(done.stdout)
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path)
    args = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as scratch:
        model = numbered_gpt_oss(Path(scratch))
        for _ in range(args.rounds):
            before = measure(model, {"before": {}}, args.against) if args.against else {}
            rounds.append({**before, **measure(model, _KINDS, Path(__file__).parents[1])})
    for name in rounds[0]:
        base = "before" if name == "plain" and "before" in rounds[0] else "plain"
        ratio = statistics.median(each[name] / each[base] for each in rounds)
        speed = statistics.median(each[name] for each in rounds)
        goal = f"; goal at least {_GOALS[name]}" if name in _GOALS else ""
        print(f"{name}: {speed:.0f} tokens/s, {ratio:.3f} of {base}{goal}")


if __name__ == "__main__":
    main()
