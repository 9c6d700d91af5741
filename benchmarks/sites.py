"""`make bench-sites`: what it costs to have a batch answered by other processes and by nodes of Ray.

    python -m benchmarks.sites [--rounds 3] [--lines 1000] [--only NAME]… [--driver-lines 20000]

Every engine has one thread, and all sides take turns. The nodes are on this machine. The wall time and the
processor time of all processes, Ray's own included, count from the first record to the last. For the limit of
the driver, a stand-in answers at the nodes, at once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from ossctl import __version__
from ossctl.app.sites.site import Counts, Done, Ready
from ossctl.app.sites.worker import SiteWorker
from ossctl.build import VERSION
from tests.support.ray_cluster import RayNode, ray_cluster

_OPTIONS = ("-m", "nano", "--threads", "1", "--ctx", "512", "--parallel", "8", "--no-cache")
_STAND_IN = """
import ossctl.app.sites.cluster.actor
from benchmarks.sites import StandIn
ossctl.app.sites.cluster.actor.SiteWorker = StandIn
"""
_SAMPLE_SECONDS = 0.1
_RECORD = json.dumps({"id": "batch_req", "custom_id": "r", "response": {"body": "x" * 600}, "error": None})


class StandIn(SiteWorker):
    """A site without an engine."""

    def _answer(self) -> None:
        self._tell(Ready("stand-in", b"", 64, 512, __version__, VERSION))
        while (line := self._inbox.get()) is not None:
            self._tell(Done(line.index, _RECORD.encode(), Counts({"done": 1, "completion_tokens": 30})))


@dataclass(frozen=True)
class Cost:
    """Of a line, in milliseconds: the wall time, and processor time by kind of process."""

    wall: float
    driver: float
    engines: float
    ray: float

    @property
    def cpu(self) -> float:
        return self.driver + self.engines + self.ray


class Clock:
    """Processor time of all processes of a run, also of those that have ended."""

    def __init__(self, driver: int, nodes: Iterable[psutil.Process]) -> None:
        process = psutil.Process(driver)
        self._kinds = dict.fromkeys(process.children(recursive=True), "engines")
        self._kinds |= {each: "engines" if "NodeActor" in _name_of(each) else "ray" for each in nodes}
        self._kinds[process] = "driver"
        self._at_first = self._seconds()
        self._seen = dict(self._at_first)

    def sample(self) -> None:
        self._seen |= self._seconds()

    def spent(self, kind: str) -> float:
        """Seconds since the first sample."""
        return sum(
            self._seen[each] - first for each, first in self._at_first.items() if self._kinds[each] == kind
        )

    def _seconds(self) -> dict[psutil.Process, float]:
        found = {}
        for each in self._kinds:
            with suppress(psutil.Error):
                times = each.cpu_times()
                found[each] = times.user + times.system
        return found


def _name_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return next(iter(process.cmdline()), "")
    return ""


def measured_on_ray(lines: Path, n_lines: int, n_nodes: int, **variables: str) -> Cost:
    """As `measured`, on a new cluster: two clusters on one machine take each other's ports."""
    with ray_cluster(**variables) as cluster:
        for _ in range(n_nodes - 1):
            cluster.add(**variables)
        return measured(lines, n_lines, ("--cluster", cluster.address), cluster.nodes)


def measured(lines: Path, n_lines: int, options: Sequence[str] = (), nodes: Sequence[RayNode] = ()) -> Cost:
    """Run a batch, and time it from the first record to the last."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "out.jsonl")
        batch = (sys.executable, "-m", "ossctl", "batch", str(lines), "-o", str(output))
        environment = {**os.environ, "OSSCTL_HOME": folder}
        driver = subprocess.Popen([*batch, *_OPTIONS, *options], stderr=subprocess.PIPE, env=environment)
        while not (first := _lines_in(output)):
            if driver.poll() is not None:
                sys.exit(f"{options}: {driver.communicate()[1].decode()}")
            time.sleep(0.005)
        started = time.perf_counter()
        clock = Clock(driver.pid, [each for node in nodes for each in node.processes()])
        while driver.poll() is None and _lines_in(output) < n_lines:
            clock.sample()
            time.sleep(_SAMPLE_SECONDS)
        clock.sample()
        seconds = time.perf_counter() - started
        said = driver.communicate()[1].decode()
        if driver.returncode or _lines_in(output) != n_lines:
            sys.exit(f"{options}: exit code {driver.returncode}, {_lines_in(output)} records\n{said}")
    each = 1000 / (n_lines - first)
    return Cost(seconds * each, *(clock.spent(kind) * each for kind in ("driver", "engines", "ray")))


def _lines_in(output: Path) -> int:
    return output.read_bytes().count(b"\n") if output.exists() else 0


def write_lines(folder: Path, count: int) -> Path:
    path = folder / f"{count}.jsonl"
    request = {"max_tokens": 30, "ignore_eos": True}
    with path.open("w") as file:
        for n in range(count):
            file.write(json.dumps({"id": f"r{n}", "prompt": f"What is {n} plus 7?", **request}) + "\n")
    return path


def show(name: str, costs: Sequence[Cost], base: Sequence[Cost]) -> None:
    middle = {
        part: statistics.median(getattr(each, part) for each in costs)
        for part in ("wall", "cpu", "driver", "engines", "ray")
    }
    parts = " + ".join(f"{middle[part]:.2f}" for part in ("driver", "engines", "ray"))
    ratios = [
        statistics.median(getattr(b, part) / getattr(c, part) for b, c in zip(base, costs, strict=True))
        for part in ("wall", "cpu")
    ]
    print(
        f"{name:16} {1000 / middle['wall']:8.1f} lines/s   {middle['wall']:6.2f} ms wall   "
        f"{middle['cpu']:6.2f} ms CPU ({parts})   speed {ratios[0]:.3f} by wall, {ratios[1]:.3f} by CPU"
    )


def compare(only: Sequence[str], rounds: int, n_lines: int, folder: Path) -> None:
    lines = write_lines(folder, n_lines)
    sides: dict[str, Callable[[], Cost]] = {
        "batch": lambda: measured(lines, n_lines),
        "--isolate": lambda: measured(lines, n_lines, ("--isolate",)),
        "--engines 2": lambda: measured(lines, n_lines, ("--engines", "2")),
        "Ray, one node": lambda: measured_on_ray(lines, n_lines, 1),
        "Ray, two nodes": lambda: measured_on_ray(lines, n_lines, 2),
    }
    sides = {name: run for name, run in sides.items() if name in only or name == "batch" or not only}
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            costs[name].append(run())
    print("CPU: driver + engines + Ray's own processes. Speed: against `batch`, the median of the rounds.")
    for name, found in costs.items():
        show(name, found, costs["batch"])


def saturate(n_lines: int, folder: Path) -> None:
    """Have the driver write as many records as it can."""
    (folder / "sitecustomize.py").write_text(_STAND_IN)
    path = f"{folder}{os.pathsep}{Path.cwd()}"
    lines = write_lines(folder, n_lines)
    cost = measured_on_ray(lines, n_lines, 2, PYTHONPATH=path)
    print(
        f"driver's limit   {1000 / cost.wall:8.0f} lines/s   {cost.driver:.3f} ms CPU of the driver a line: "
        f"at most {1000 / cost.driver:,.0f} lines/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--driver-lines", type=int, default=20_000)
    arguments = parser.parse_args()
    if find_spec("ray") is None:
        sys.exit("Ray is not installed: pip install 'ossctl[cluster]'")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.rounds:
            compare(arguments.only, arguments.rounds, arguments.lines, Path(folder))
        if arguments.driver_lines:
            saturate(arguments.driver_lines, Path(folder))


if __name__ == "__main__":
    main()
