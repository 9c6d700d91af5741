"""Serve this machine's devices to other machines, until a signal."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Thread

from ossctl.app.inference.interrupt import Interrupt, next_of
from ossctl.app.placement.self_test import ended_by
from ossctl.app.worker.offers import offers_of
from ossctl.errors import OssctlError, UsageError
from ossctl.runtime.devices import BackendDevice, DeviceKind, list_devices, placeable
from ossctl.runtime.host import physical_cores
from ossctl.runtime.rpc import VARIABLE, WorkerError, check_worker, require_rpc, split_address

_START_SECONDS = 30
_EVERYWHERE, _HERE = "0.0.0.0", "127.0.0.1"  # noqa: S104 (only compared)
_BRIEF_SECONDS = 1.0  # connections that only ask for devices and memory are not shown
_CONNECTED, _LEFT = "Accepted client connection", "Client connection closed"  # ggml-rpc.cpp


@dataclass(frozen=True)
class Worker:
    """What is served, and where: `address` is bound, `public` is what clients on other machines use."""

    address: str
    public: str
    devices: Sequence[BackendDevice]
    threads: int

    @property
    def local(self) -> str:
        """The address for a client on this machine: Windows connects to no 0.0.0.0."""
        host, port = split_address(self.address)
        return f"{_HERE}:{port}" if host == _EVERYWHERE else self.address

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        return self.address.startswith("127.")


def prepare(listen: str, device: str | None, threads: int) -> Worker:
    """Check address and devices. Raises UsageError, or OssctlError if the build cannot serve."""
    os.environ.pop(VARIABLE, None)  # a worker serves its own devices only
    require_rpc()
    host, port = host_and_port(listen)
    number = _free_address(host, port)
    public = socket.gethostname() if number == _EVERYWHERE else number
    served = _served(device)
    devices = [
        replace(each, free=min(each.free, offer))
        for each, offer in zip(served, offers_of(served), strict=True)
    ]
    return Worker(f"{number}:{port}", f"{public}:{port}", devices, threads or physical_cores())


def host_and_port(listen: str) -> tuple[str, int]:
    """The two parts of `--listen HOST:PORT`. Raises UsageError."""
    return split_address(listen)


def _free_address(host: str, port: int) -> str:
    """The number of an address at which nothing listens yet. Raises UsageError."""
    try:
        number = socket.gethostbyname(host)
        with socket.socket() as probe:
            if sys.platform != "win32":  # there it would share the port with the program that has it
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((number, port))
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}:{port}: {(error.strerror or str(error)).lower()}",
            "Choose another one with --listen HOST:PORT.",
        ) from None
    return number


def _served(names: str | None) -> tuple[BackendDevice, ...]:
    """The devices of these names; if None, those that llama.cpp would use, or the CPU if there are none."""
    found = list_devices()
    if names is None:
        return placeable(found) or tuple(each for each in found if each.kind is DeviceKind.CPU)[:1]
    by_name = {each.name.lower(): each for each in found}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if missing := [name for name in wanted if name.lower() not in by_name]:
        known = ", ".join(each.name for each in found)
        raise UsageError(f"--device: there is no {missing[0]}", f"llama.cpp sees {known}.")
    if not wanted:
        raise UsageError("--device is empty", "Leave it out to serve all devices.")
    return tuple(by_name[name.lower()] for name in wanted)


def serve(worker: Worker, ready: Callable[[], None], say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; call `ready` once clients can connect.

    A server that dies is started again. Raises Interrupted, or OssctlError if it dies at once.
    """
    with Interrupt() as interrupt:
        while True:
            started = time.monotonic()
            server = _Server(worker, interrupt)
            try:
                server.wait_until_ready()
                ready()
                server.watch(say)
            finally:
                server.kill()
            interrupt.check()
            if time.monotonic() - started < _START_SECONDS:
                raise OssctlError(f"the worker's server {server.ending}")
            say(f"The server {server.ending}; restarting it.")
            ready = _nothing


def _nothing() -> None:
    pass


class _Server:
    """The process that serves, and its lines. None in `_lines` ends the wait for more."""

    def __init__(self, worker: Worker, interrupt: Interrupt) -> None:
        names = [each.name for each in worker.devices]
        command = [sys.executable, "-P", "-m", "ossctl.app.worker.rpc_server", worker.address]
        self._process = subprocess.Popen(  # noqa: S603
            [*command, str(worker.threads), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._address, self._interrupt = worker.local, interrupt
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._latest = ""
        interrupt.on_signal = lambda: self._lines.put(None)
        self._stderr = Thread(target=self._read_stderr, daemon=True)
        self._stderr.start()
        Thread(target=self._read_stdout, daemon=True).start()

    @property
    def ending(self) -> str:
        """How the process ended, and its last words."""
        code = self._process.wait()
        self._stderr.join()
        how = f"died with {ended_by(code)}" if ended_by(code) else f"ended with exit code {code}"
        return f"{how} ({self._latest})" if self._latest else how

    def wait_until_ready(self) -> None:
        """Wait until it answers. Raises OssctlError, Interrupted."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            self._interrupt.check()
            try:
                return check_worker(self._address)
            except WorkerError as error:
                if self._process.poll() is not None:
                    raise OssctlError(f"the worker's server {self.ending}") from None
                if time.monotonic() > deadline:
                    raise OssctlError(f"the worker's server did not start: {error.message}") from None
                time.sleep(0.05)

    def watch(self, say: Callable[[str], None]) -> None:
        """Report clients until the process ends or there is a signal."""
        while (line := next_of(self._lines)) is not None:
            if line != _CONNECTED or self._leaves_soon():
                continue
            say("A client has connected.")
            while (line := next_of(self._lines)) not in (None, _LEFT):
                pass
            say("The client has left." if line else "The client was disconnected.")
            if line is None:
                return

    def _leaves_soon(self) -> bool:
        try:
            return self._lines.get(timeout=_BRIEF_SECONDS) == _LEFT
        except Empty:
            return False

    def kill(self) -> None:
        """End it now; clients lose their model."""
        self._process.kill()
        self._process.wait()

    def _read_stdout(self) -> None:
        for line in self._process.stdout or ():
            if (text := line.strip()) in (_CONNECTED, _LEFT):
                self._lines.put(text)
        self._lines.put(None)

    def _read_stderr(self) -> None:
        for line in self._process.stderr or ():
            self._latest = line.strip() or self._latest
