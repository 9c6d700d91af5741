"""`make bench-run`: what `ossctl run` costs beyond loading a model, and `--serve-stdin` beside `batch`.

    python -m benchmarks.run [--llama-cli PATH] [--rounds 10] [--requests 1000]

All sides take turns. The bare load is llama.cpp through its bindings: the model, a context, one token. The
peer is llama.cpp's own `llama-cli`, where there is one.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.models import smollm2

_OSSCTL = [sys.executable, "-m", "ossctl"]
_EXIT_CODES = (0, 6)  # success, and an answer that --max-tokens cut off, as here all are
_BARE = """
import sys
from llama_cpp import llama_cpp as lib
lib.llama_backend_init()
lib.llama_log_set(log := lib.llama_log_callback(lambda *_: None), None)
model = lib.llama_model_load_from_file(sys.argv[1].encode(), lib.llama_model_default_params())
params = lib.llama_context_default_params()
params.n_ctx = 4096
context = lib.llama_init_from_model(model, params)
batch = lib.llama_batch_get_one((lib.llama_token * 1)(1), 1)
assert lib.llama_decode(context, batch) == 0
"""


def seconds(command: Sequence[str], text: str, folder: Path) -> float:
    started = time.perf_counter()
    environment = {**os.environ, "OSSCTL_HOME": str(folder)}
    done = subprocess.run(command, input=text.encode(), capture_output=True, env=environment, check=False)
    elapsed = time.perf_counter() - started
    if done.returncode not in _EXIT_CODES:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr.decode('utf-8', 'replace')}")
    return elapsed


def startup(llama_cli: str | None, rounds: int, folder: Path) -> None:
    model = str(smollm2())
    commands = {
        "bare load": [sys.executable, "-c", _BARE, model],
        "ossctl run -n 1": [*_OSSCTL, "run", "-m", model, "-n", "1"],
    }
    if llama_cli:
        commands["llama-cli -st -n 1"] = [llama_cli, "-m", model, "-st", "-n", "1", "-p", "hi"]
    else:
        print("llama-cli is not here: compared with the bare load only (--llama-cli PATH)")
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):  # the first one warms the page cache
        for name, command in commands.items():
            times[name].append(seconds(command, "hi", folder))
    medians = {name: statistics.median(of[1:]) for name, of in times.items()}
    for name, median in medians.items():
        print(f"{name:20} {median:.3f} s")
    print(f"beyond the bare load {medians['ossctl run -n 1'] - medians['bare load']:.3f} s (goal 0.5)")
    if llama_cli:
        ratio = medians["ossctl run -n 1"] / medians["llama-cli -st -n 1"]
        print(f"of llama-cli's time  {ratio:.2f} (goal 0.5)")


def serving(requests: int, rounds: int, folder: Path) -> None:
    lines = [
        json.dumps({"id": f"r{n}", "prompt": f"Name something like {n}.", "max_tokens": 8})
        for n in range(requests)
    ]
    text = "\n".join(lines) + "\n"
    options = ["-m", str(smollm2()), "--ctx", "512", "--parallel", "8"]
    commands = {
        "batch": [*_OSSCTL, "batch", "-", *options],
        "serve": [*_OSSCTL, "run", "--serve-stdin", *options],
    }
    ratios = []
    for _ in range(rounds):
        taken = {name: seconds(command, text, folder) for name, command in commands.items()}
        ratios.append(taken["batch"] / taken["serve"])
        print(f"{requests} requests: batch {taken['batch']:.1f} s, --serve-stdin {taken['serve']:.1f} s")
    print(f"--serve-stdin reaches {statistics.median(ratios):.1%} of batch's throughput (goal 95 %)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-cli", default=shutil.which("llama-cli"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        startup(args.llama_cli, args.rounds, Path(folder))
        if args.requests:
            serving(args.requests, 3, Path(folder))


if __name__ == "__main__":
    main()
