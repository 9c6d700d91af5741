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
from types import TracebackType
from typing import IO, Self

from tests.support.fork_client import LENGTH, NUMBER, next_number, received, request

# What commands import.
_IMPORTED = (
    "ossctl.cli.main",
    "ossctl.app.run.run",
    "ossctl.app.batch.options",
    "llama_cpp",
    "typer._adapters",
)
# What the Hub's client imports; the client itself reads variables when it is imported.
_IMPORTED_BY_HUB = (
    "httpx2",
    "httpcore2",
    "anyio.to_thread",
    "filelock",
    "fsspec",
    "tqdm.auto",
    "truststore",
    "yaml",
)

# Variables that are read by a program's start or by what is imported here.
_READ_AT_START = ("LD_", "PYTHON", "LLAMA_CPP_", "OMP_", "GOMP_", "GGML_", "TYPER_")

_LOCK = Lock()  # while the server is started

Streams = tuple[int, int, int]  # a program's stdin, stdout and stderr


class Program:
    """A program at work. What it has of `subprocess.Popen[bytes]` behaves alike."""

    def __init__(
        self,
        connection: socket.socket,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        stderr: IO[bytes] | None = None,
    ) -> None:
        self._connection = connection
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.pid = next_number(connection)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._code_within(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._code_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("ossctl", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, stdin: bytes = b"", timeout: float | None = None) -> tuple[bytes, bytes]:
        with ThreadPoolExecutor(3) as pool:
            pool.submit(_write, self.stdin, stdin)
            output, errors = pool.submit(_read, self.stdout), pool.submit(_read, self.stderr)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()  # else the pipes stay open
                raise
            return output.result(), errors.result()

    def _code_within(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], seconds)[0]:
            self.returncode = next_number(self._connection)
            self._connection.close()
        return self.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        self.wait()


class ForkServer:
    """The server's process, used by any number of threads and programs. It ends with this process."""

    def __init__(self) -> None:
        self.address = f"\0ossctl tests {os.getpid()}"  # no file, so nothing is left
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,  # as programs have: Python's streams remember that they can't seek
                stderr=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env={**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            )

    def start(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        streams: Streams = (subprocess.PIPE,) * 3,
    ) -> Program:
        """As `subprocess.Popen`, which says what `streams` may be; stdin's pipe is not buffered."""
        theirs, ours = zip(*map(_opened, streams, (True, False, False)), strict=True)
        connection = request(self.address, arguments, str(cwd), environment, theirs)
        for descriptor in set(theirs) - set(streams):
            os.close(descriptor)
        return Program(connection, *ours)


def can_fork(variables: Mapping[str, str]) -> bool:
    """Whether a program with these variables may be a fork."""
    return sys.platform == "linux" and not any(name.startswith(_READ_AT_START) for name in variables)


def fork_server() -> ForkServer:
    """The one of this process."""
    with _LOCK:
        return _only()


@functools.cache
def _only() -> ForkServer:
    return ForkServer()


def _opened(stream: int, is_read: bool) -> tuple[int, IO[bytes] | None]:
    """The program's descriptor for a stream, which it reads or writes, and our end if that is a pipe."""
    if stream == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    if stream != subprocess.PIPE:
        return stream, None
    read, write = os.pipe()
    return (read, io.FileIO(write, "wb")) if is_read else (write, os.fdopen(read, "rb"))


def _write(pipe: IO[bytes] | None, data: bytes) -> None:
    if pipe is None or pipe.closed:
        return
    with contextlib.suppress(BrokenPipeError), pipe:
        left = memoryview(data)
        while left:
            left = left[pipe.write(left) :]


def _read(pipe: IO[bytes] | None) -> bytes:
    if pipe is None or pipe.closed:
        return b""
    with pipe:
        return pipe.read()


def _next_program(listener: socket.socket, end: int) -> None:
    """Wait for requests; return in a process that has become one. The server exits when `end` is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a terminal, or a test in its place, sends to all
    while True:
        ready, _, _ = select.select([listener.fileno(), end], [], [])
        if end in ready:
            os._exit(0)
        connection, _ = listener.accept()
        with connection:
            header, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
            program = json.loads(received(connection, *LENGTH.unpack(header)))
            if os.fork() == 0:
                listener.close()
                return _keep(program, streams, connection)
        for descriptor in streams:
            os.close(descriptor)


def _keep(program: dict[str, object], streams: list[int], connection: socket.socket) -> None:
    """Fork the program and report its number and, at its end, its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        connection.close()
        return _become(program, streams)
    for descriptor in (*streams, 0, 1, 2):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    with contextlib.suppress(OSError):
        connection.sendall(NUMBER.pack(pid))
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, connection.fileno()], [], [])
    if ended not in ready:  # nobody waits for it any more
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(NUMBER.pack(code))
    os._exit(0)


def _become(program: dict[str, object], streams: list[int]) -> None:
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(str(program["cwd"]))
    os.environ.clear()
    os.environ.update(program["environment"])  # type: ignore[call-overload]
    sys.argv = ["ossctl", *program["arguments"]]  # type: ignore[misc]


if __name__ == "__main__":
    for name in _IMPORTED:
        importlib.import_module(name)
    for name in _IMPORTED_BY_HUB:
        with contextlib.suppress(ImportError):  # another version has others
            importlib.import_module(name)
    assert "huggingface_hub" not in sys.modules
    _next_program(socket.socket(fileno=int(sys.argv[1])), 0)
    importlib.import_module("ossctl.__main__").main()
