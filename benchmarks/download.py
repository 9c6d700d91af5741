"""What pulling costs beyond huggingface-hub's own download, and how fast files are hashed.

    python -m benchmarks.download            # 1 GB a round, over a line of 400 Mbit/s and at full speed

Both fetch the same file from the same server in a process of its own, in turn, so that what else the machine
does hits both. Ours hashes the file meanwhile; huggingface-hub doesn't.
"""

import argparse
import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_LINE = 50_000_000  # bytes a second
_SERVER = """
import sys, time
from pathlib import Path
from tests.support.hub import Hub, Slow
with Hub() as hub:
    hub.add("org/model-GGUF", {"m.gguf": Path(sys.argv[1]).read_bytes()})
    hub.every = Slow(float(sys.argv[2])) if float(sys.argv[2]) else None
    print(hub.url, flush=True)
    sys.stdin.read()
"""
_CLIENT = """
import sys, time
from huggingface_hub import hf_hub_download, logging
from huggingface_hub.utils import disable_progress_bars
from pathlib import Path
from ossctl.hub.hub import find_model
from ossctl.hub.records import FileRecords
from ossctl.hub.reference import HubReference
from ossctl.hub.store import ModelPull
disable_progress_bars()

def ours(home):
    model = find_model(HubReference("org/model-GGUF"), lambda *_: None)
    ModelPull(model, FileRecords(Path(home) / "records.db"), lambda _: None, print).run()

def theirs(home):
    hf_hub_download("org/model-GGUF", "m.gguf")

started, cpu = time.perf_counter(), time.process_time()
{"ours": ours, "theirs": theirs}[sys.argv[1]](sys.argv[2])
print(time.perf_counter() - started, time.process_time() - cpu)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        block = random.Random(0).randbytes(1_000_000)
        with path.open("wb") as file:
            for number in range(options.megabytes):
                file.write(number.to_bytes(8) + block[8:])
        hashing(path)
        for name, rate in {"400 Mbit/s": _LINE, "full speed": 0}.items():
            compare(path, name, rate, options.rounds)


def hashing(path: Path) -> None:
    """Gigabytes a second of a file in the page cache, beside what hashlib does in memory."""
    from ossctl.hub.hashing import sha256_of

    data = path.read_bytes()
    file = best(lambda: sha256_of(path))
    memory = best(lambda: hashlib.sha256(data).hexdigest())
    size = len(data) / 1e9
    print(f"sha256: file {size / file:.2f} GB/s, memory {size / memory:.2f} GB/s, one thread")


def best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def compare(path: Path, name: str, rate: int, rounds: int) -> None:
    """Seconds of each, in turn; the ratio is that of the medians."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(path), str(rate)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        seconds: dict[str, list[tuple[float, float]]] = {"theirs": [], "ours": []}
        for number in range(rounds):
            for who in sorted(seconds, reverse=bool(number % 2)):
                seconds[who].append(client(who, url))
        assert server.stdin is not None
        server.stdin.close()
    wall = {who: statistics.median(pair[0] for pair in pairs) for who, pairs in seconds.items()}
    cpu = {who: statistics.median(pair[1] for pair in pairs) for who, pairs in seconds.items()}
    size = path.stat().st_size / 1e6
    for who, seconds_of in wall.items():
        print(f"{name}, {who}: {size / seconds_of:.0f} MB/s, {seconds_of:.2f} s, CPU {cpu[who]:.2f} s")
    print(f"{name}: ours takes {100 * (wall['ours'] / wall['theirs'] - 1):+.1f} % longer")


def client(who: str, url: str) -> tuple[float, float]:
    """(seconds, CPU seconds) of one download in a process and cache of its own."""
    with tempfile.TemporaryDirectory() as home:
        found = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": home, "NO_PROXY": "*"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _CLIENT, who, home],
            env=found,
            capture_output=True,
            text=True,
            check=True,
        )
        wall, cpu = map(float, done.stdout.split())
        return wall, cpu


if __name__ == "__main__":
    main()
