"""Hosts for tests: a stand-in for ssh, and a real server of ssh on this machine."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

# Runs the command in a session of its own, as sshd does, and relays its pipes, which end when the stand-in is
# killed. Some hosts print something before, or fail;
# `flaky` has only one connection that lasts.
_STAND_IN = r"""#!{python} -ISu
import os, subprocess, sys, threading, time
host, command = sys.argv[-2:]
first = not os.path.exists(__file__ + host)
open(__file__ + host, "w").close()
if host == "noisy":
    print("Welcome to noisy\nno newline", end="")
    print("+ export TOKEN=secret", file=sys.stderr)
if host == "refused":
    sys.stderr.write("ssh: connect to host refused port 22: Connection refused\n")
    sys.exit(255)
if host == "unknown":
    sys.stderr.write("Host key verification failed.\n")
    sys.exit(255)
if host == "older":
    hello = b"\x83\xa4type\xa5Hello\xa6ossctl\xa30.0\xa9llama_cpp\xa30.1"
    os.write(1, b"\n\x1eossctl site\n" + len(hello).to_bytes(4, "big") + hello)
    time.sleep(5)
    sys.exit(1)
def relay(source, sink):
    while data := os.read(source, 65536):
        is_ready = b"Ready" in data
        while data:
            data = data[os.write(sink, data):]
        if host == "flaky" and is_ready and not first:
            os._exit(255)
    os.close(sink)
pipe = subprocess.PIPE
there = subprocess.Popen(["sh", "-c", command], stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
threading.Thread(target=relay, args=(0, there.stdin.fileno()), daemon=True).start()
outputs = [
    threading.Thread(target=relay, args=(source.fileno(), sink))
    for source, sink in ((there.stdout, 1), (there.stderr, 2))
]
for thread in outputs:
    thread.start()
for thread in outputs:
    thread.join()
code = there.wait()
os._exit(code if code >= 0 else 255)
"""


@dataclass(frozen=True)
class Hosts:
    """A command for `OSSCTL_SSH`, and the path of an ossctl that works in `home`."""

    ssh: str
    program: Path
    home: Path

    def given(self, *names: str) -> str:
        """Hosts as `--hosts` takes them."""
        return ",".join(f"{name}:{self.program}" for name in names)

    def engines(self) -> list[psutil.Process]:
        """The engines that run on these hosts."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                cmdline = process.cmdline()
                if cmdline[-1:] == ["site"] and "ossctl" in cmdline and self._is_ours(process):
                    found.append(process)
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        return process.environ().get("OSSCTL_HOME") == str(self.home)


def stand_in(folder: Path, **variables: str) -> Hosts:
    """Hosts that are this machine, without a network, with `variables` in their environment."""
    return Hosts(
        str(_script(folder / "ssh", _STAND_IN.replace("{python}", sys.executable))),
        _ossctl(folder, variables),
        folder / "there",
    )


@contextmanager
def ssh_server(folder: Path, **variables: str) -> Iterator[Hosts]:
    """A server of ssh on a port of this machine, and the hosts `one`, `two`, `stranger` and `denied`."""
    assert SSHD is not None
    folder.chmod(0o700)
    for name in ("host", "key", "other"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", folder / name], check=True
        )
    port = _free_port()
    shutil.copy(folder / "key.pub", folder / "authorized")
    known = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known").write_text(f"[127.0.0.1]:{port} {known}\n")
    (folder / "sshd_config").write_text(_server_config(folder, port))
    (folder / "ssh_config").write_text(_client_config(folder, port))
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield Hosts(f"ssh -F {folder / 'ssh_config'}", _ossctl(folder, variables), folder / "there")
    finally:
        server.terminate()
        server.wait()


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def _ossctl(folder: Path, variables: Mapping[str, str]) -> Path:
    """An `ossctl` with files of its own, as another machine has."""
    exports = {"OSSCTL_HOME": str(folder / "there"), **variables}
    run = "".join(f"export {name}={value}\n" for name, value in exports.items())
    run += f'exec {sys.executable} -P -m ossctl "$@"\n'
    return _script(folder / "ossctl", f"#!/bin/sh\n{run}")


def _server_config(folder: Path, port: int) -> str:
    return (
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host'}\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder / 'authorized'}\nStrictModes no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
    )


def _client_config(folder: Path, port: int) -> str:
    return (
        f"Host stranger\n  UserKnownHostsFile {folder / 'none'}\n"
        f"Host denied\n  IdentityFile {folder / 'other'}\n"
        f"Host * !denied\n  IdentityFile {folder / 'key'}\n"
        f"Host *\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder / 'known'}\n"
        "  GlobalKnownHostsFile none\n"
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise TimeoutError("sshd does not listen")
