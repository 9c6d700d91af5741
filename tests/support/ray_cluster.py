"""A Ray cluster on this machine, each of whose nodes has one CPU and is a process that can be killed."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_RAY = Path(sys.executable).with_name("ray")
_STORE_BYTES = 80_000_000  # about the least that Ray takes
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # or the head wants a token if this user has one
    "PYTHONUTF8": "1",
}


class RayNode:
    """A node of the cluster: `ray start --block` and all that it has started."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        """`variables` are of the environment of its actors."""
        self._process = subprocess.Popen(
            [_RAY, "start", "--block", "--num-cpus=1", f"--object-store-memory={_STORE_BYTES}", *arguments],
            env={**os.environ, **_ENVIRONMENT, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                return
        raise RuntimeError(f"ray start has failed:\n{''.join(said)}")

    def actors(self) -> list[psutil.Process]:
        """The engines that run on this node."""
        return [each for each in self.processes() if _name_of(each).startswith("ray::NodeActor")]

    def part(self, name: str) -> psutil.Process:
        """A process of Ray itself: raylet or gcs_server."""
        return next(each for each in self.processes() if Path(_name_of(each)).name == name)

    def processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def close(self) -> None:
        processes = self.processes()
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.kill()
        self._process.communicate()
        psutil.wait_procs(processes, timeout=5)


def _name_of(process: psutil.Process) -> str:
    try:
        return next(iter(process.cmdline()), "")
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


class RayCluster:
    """A head and further nodes, started one after the other: two at once take the same ports."""

    def __init__(self, folder: Path, **variables: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        options = (f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false")
        self.head = RayNode("--head", *options, **variables)
        self.nodes = [self.head]

    def add(self, **variables: str) -> RayNode:
        """Start one more node."""
        node = RayNode(f"--address={self.address}", **variables)
        self.nodes.append(node)
        return node

    def close(self) -> None:
        for node in self.nodes:
            node.close()


@contextmanager
def ray_cluster(**variables: str) -> Iterator[RayCluster]:
    """A cluster with a head alone. The path of its folder is short, because it holds sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    cluster = RayCluster(folder, **variables)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)
