"""`ossctl worker` on this machine, to be killed, frozen and started again."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command import command, environment


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Worker:
    """`ossctl worker`, whose lines are read one by one."""

    def __init__(self, folder: Path, address: str = "") -> None:
        self.address = address or free_address()
        folder.mkdir(exist_ok=True)
        arguments = command("worker", "--listen", self.address, "--threads", 1)
        self.process = subprocess.Popen(
            arguments, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip()

    def server(self) -> int:
        """The process that llama.cpp serves in."""
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    def end(self, signum: int = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(signum)
        _, said = self.process.communicate(timeout=10)
        return self.process.returncode, said


@contextmanager
def worker(folder: Path, address: str = "") -> Iterator[Worker]:
    """A worker, at a free address unless one is given."""
    started = Worker(folder, address)
    try:
        yield started
    finally:
        started.process.terminate()
        started.process.communicate(timeout=10)
