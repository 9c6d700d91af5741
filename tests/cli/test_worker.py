"""`ossctl worker` and --rpc: devices of another process, which may be wrong, silent or gone."""

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import MagicMock

import pytest

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.worker import serve
from ossctl.app.worker.serve import Worker
from ossctl.errors import UsageError
from ossctl.runtime.rpc import PROTOCOL, WorkerError, check_worker, parse_addresses
from tests.support.command import command, environment, ossctl
from tests.support.llama_oracle import has_rpc
from tests.support.workers import worker

NANO = ("-m", "nano", "-t", 0, "--threads", 1, "--ctx", 512, "-n", 8)


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """A server that sends `answer` to its first client and hangs up; None says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(64)
                client.sendall(answer or b"")

        if answer is not None:
            Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def greeting(*version: int) -> bytes:
    return struct.pack("<QBBBx24x", 28, *version)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (greeting(PROTOCOL[0] + 1, 0, 0), "speaks version 8.0 of llama.cpp's RPC protocol, this program 7.0"),
        (greeting(PROTOCOL[0], PROTOCOL[1] + 1, 0), "speaks version 7.1 of"),
        (b"", "does not speak llama.cpp's RPC protocol 7.0"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "it is another program"),
        (None, "does not answer within 0.2 seconds"),
    ],
    ids=["newer", "newer minor", "hangs up", "http", "silent"],
)
def test_what_is_no_worker_of_this_version_is_refused(answer: bytes | None, said: str) -> None:
    with answering(answer) as address, pytest.raises(WorkerError) as refused:
        check_worker(address, 0.2)
    assert address in refused.value.message
    assert said in refused.value.message


def test_a_worker_for_all_machines_is_asked_at_an_address_that_windows_connects_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everywhere = Worker("0.0.0.0:50052", "here:50052", (), 1)
    assert (everywhere.local, everywhere.is_loopback) == ("127.0.0.1:50052", False)
    for address in ("192.168.0.1:1", "10.0.0.0:1"):
        assert replace(everywhere, address=address).local == address
    asked: list[str] = []
    monkeypatch.setattr(serve, "check_worker", asked.append)
    monkeypatch.setattr(subprocess, "Popen", MagicMock())
    serve._Server(everywhere, Interrupt()).wait_until_ready()
    assert asked == ["127.0.0.1:50052"]


def test_windows_lets_no_worker_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[int] = []

    class Socket(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            options.append(arguments[1])

    monkeypatch.setattr(socket, "socket", Socket)
    for platform in ("linux", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        assert serve._free_address("localhost", 0) == "127.0.0.1"
    assert options == [socket.SO_REUSEADDR]


def test_an_older_minor_version_is_accepted() -> None:
    with answering(greeting(*PROTOCOL, 9)) as address:
        check_worker(address, 1)


@pytest.mark.parametrize(
    "text", ["", ",", "gpubox", "gpubox:", ":50052", "gpubox:0", "gpubox:70000", "::1:5"]
)
def test_addresses_that_are_wrong(text: str) -> None:
    with pytest.raises(UsageError):
        parse_addresses(text)


def test_addresses() -> None:
    assert parse_addresses(" a:1, b:2 ,a:1,") == ("a:1", "b:2")


@has_rpc
def test_a_model_on_a_worker_answers_as_here(tmp_path: Path) -> None:
    here = ossctl("run", *NANO, "Hello", cwd=tmp_path)
    with worker(tmp_path / "worker") as other:
        free, total = map(float, re.findall(r"([\d.]+) of ([\d.]+) GiB free", other.line())[0])
        assert other.line() == f"Ready. On the other machine: --rpc {other.address}"
        taken = ossctl("worker", "--listen", other.address, cwd=tmp_path)
        planned = ossctl("plan", "nano", "--rpc", other.address, cwd=tmp_path)
        there = ossctl("run", *NANO, "Hello", "-v", cwd=tmp_path, OSSCTL_RPC=other.address)
        assert other.end() == (130, "ossctl: interrupted\n")
    gone = ossctl("run", *NANO, "--rpc", other.address, "Hello", cwd=tmp_path)
    assert (taken.code, taken.said[0]) == (
        2,
        f"ossctl: cannot listen at {other.address}: address already in use",
    )
    assert free <= 0.96 * total  # with 5 % in reserve
    assert f"RPC0 {other.address}" in planned.stdout
    assert "RPC0 shares the computer's RAM" in planned.stdout
    assert "llama.cpp's own figures" in planned.stdout
    assert (there.code, there.stdout) == (here.code, here.stdout), there.stderr
    assert "RPC0: predicted" in there.stderr
    assert (gone.code, gone.said[0]) == (1, f"ossctl: no worker listens at {other.address}")


@has_rpc
@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "said"), [(signal.SIGKILL, "is gone"), (signal.SIGSTOP, "has stopped responding")]
)
def test_a_lost_worker_ends_the_client_in_two_lines(tmp_path: Path, signum: int, said: str) -> None:
    with worker(tmp_path / "worker") as other:
        other.line(), other.line()
        client = subprocess.Popen(
            command("run", "-m", "nano", "-n", 100_000, "--rpc", other.address, "--raw", "--log", "Hello"),
            env=environment(tmp_path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert client.stdout is not None
        assert client.stdout.read(1)
        os.kill(other.server(), signum)
        _, errors = client.communicate(timeout=30)
    assert client.returncode == 1
    first, second = errors.splitlines()[-2:]
    assert first.startswith(f"ossctl: worker {other.address} {said}. The answer so far is in the log.")
    assert "Hello" in ossctl("log", "list", cwd=tmp_path).stdout
    assert second == "Start `ossctl worker` there again, or leave it out of --rpc."


@has_rpc
@pytest.mark.slow
def test_finished_answers_of_a_chat_survive_the_worker(tmp_path: Path) -> None:
    with worker(tmp_path / "worker") as other:
        other.line(), other.line()
        client = subprocess.Popen(
            command("chat", "-m", "nano", "-t", 0, "--ctx", 512, "--rpc", other.address),
            env=environment(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write("Hello\n")
        client.stdin.flush()
        assert client.stdout.readline()
        time.sleep(0.5)  # until it is saved
        os.kill(other.server(), signal.SIGKILL)
        _, said = client.communicate("What else?\n", timeout=20)
    assert client.returncode == 1
    assert f"worker {other.address} is gone. Your messages are saved" in said
    assert "Hello" in ossctl("sessions", "list", cwd=tmp_path).stdout
