"""Programs that start with everything imported: a server that forks itself for each, as Linux allows.

Half of the time of a short `ossctl` is imports. A program here begins after them, with arguments, folder,
environment and streams of its own, and ends as any other does.
"""

import contextlib
import functools
import importlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

AVAILABLE = sys.platform == "linux"

# What `run` and `batch` import. Nothing here may read the environment when it is imported.
_IMPORTED = (
    "ossctl.cli.main",
    "ossctl.app.run.run",
    "ossctl.app.batch.options",
    "llama_cpp",
    "typer._adapters",
)
_LENGTH = 8  # bytes of the number before a request


class ForkServer:
    """The server's process, used by any number of threads. It ends with this process."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        self._lock = Lock()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__],
                stdin=other.fileno(),
                stdout=subprocess.PIPE,  # as programs have: Python's streams remember that they can't seek
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            )

    def run(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        stdin: bytes,
        seconds: float,
    ) -> subprocess.CompletedProcess[bytes]:
        """As `subprocess.run` with captured output."""
        request = json.dumps(
            {"arguments": arguments, "cwd": str(cwd), "environment": dict(environment)}
        ).encode()
        pipes = [os.pipe() for _ in range(4)]  # stdin, stdout, stderr, and what became of the program
        (its_in, to), (out, its_out), (err, its_err), (ended, its_end) = pipes
        with self._lock:
            header = len(request).to_bytes(_LENGTH, "big")
            socket.send_fds(self._socket, [header], [its_in, its_out, its_err, its_end])
            self._socket.sendall(request)
        for descriptor in (its_in, its_out, its_err, its_end):
            os.close(descriptor)
        with ThreadPoolExecutor(3) as pool, os.fdopen(ended, encoding="ascii") as end:
            pool.submit(_write, to, stdin)
            output, errors = pool.submit(_read, out), pool.submit(_read, err)
            pid = int(end.readline())
            if not select.select([end], [], [], seconds)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(arguments, seconds, output.result(), errors.result())
            return subprocess.CompletedProcess(
                arguments, int(end.readline()), output.result(), errors.result()
            )


@functools.cache
def fork_server() -> ForkServer:
    """The one of this process."""
    return ForkServer()


def _write(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), io.FileIO(descriptor, "w") as pipe:
        left = memoryview(data)
        while left:
            left = left[pipe.write(left) :]


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as pipe:
        return pipe.read()


def _next_program(requests: socket.socket) -> None:
    """Wait for requests; return in a process that has become one. The server itself exits at their end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    while True:
        header, descriptors, _, _ = socket.recv_fds(requests, _LENGTH, 4)
        if not header:
            os._exit(0)
        request = json.loads(_exactly(requests, int.from_bytes(header, "big")))
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            return _keep(request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _exactly(requests: socket.socket, n: int) -> bytes:
    data = bytearray()
    while len(data) < n:
        data += requests.recv(n - len(data))
    return bytes(data)


def _keep(request: dict[str, object], descriptors: list[int]) -> None:
    """Fork the program and report its number and, at its end, its exit code."""
    *streams, report = descriptors
    pid = os.fork()
    if pid == 0:
        os.close(report)
        return _become(request, streams)
    for descriptor in (*streams, 0, 1, 2):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    os.write(report, b"%d\n" % pid)
    os.write(report, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _become(request: dict[str, object], streams: list[int]) -> None:
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    sys.argv = ["ossctl", *request["arguments"]]  # type: ignore[misc]


if __name__ == "__main__":
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name in _IMPORTED:
        importlib.import_module(name)
    _next_program(control)
    importlib.import_module("ossctl.__main__").main()
