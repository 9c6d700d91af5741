"""Workers: devices of other machines, through llama.cpp's RPC.

llama.cpp ends the process if a worker does not answer or speaks another protocol, so each is asked first.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from ossctl.build import rebuild_command
from ossctl.errors import OssctlError, UsageError
from ossctl.runtime.ggml import function, has_function
from ossctl.runtime.pulse import ask

VARIABLE = "OSSCTL_RPC"  # programs that this one starts find the workers there

# ggml/include/ggml-rpc.h and ggml/src/ggml-rpc/ggml-rpc.cpp
PROTOCOL = (7, 0)
_HELLO = struct.pack("<BQ24x", 14, 24)  # command, size, capabilities of the transport
_ANSWER = struct.Struct("<QBBBx24x")  # size, version, capabilities

_SECONDS = 4.0  # for each step of the greeting
_QUESTIONS, _ANSWER_SECONDS = 2, 0.5  # by UDP
_LOST = ("Remote RPC server crashed", "Failed to connect to", "RPC handshake failed")


class WorkerError(OssctlError):
    """A worker cannot be used."""


class WorkerAbsent(WorkerError):
    """A worker does not answer, which may change."""


def parse_addresses(text: str) -> tuple[str, ...]:
    """The addresses in `HOST:PORT,HOST:PORT`, each once. Raises UsageError."""
    addresses = tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
    for address in addresses:
        split_address(address)
    if not addresses:
        raise UsageError("--rpc is empty", "Give the addresses that `ossctl worker` prints, as HOST:PORT.")
    return addresses


def split_address(address: str) -> tuple[str, int]:
    """Host and port; llama.cpp has no IPv6. Raises UsageError."""
    host, _, port = address.partition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 1 << 16:
        raise UsageError(
            f"{address} is not the address of a worker",
            "Write HOST:PORT, where HOST is a name or an IPv4 address, such as 192.168.1.7:50052.",
        )
    return host, int(port)


def require_rpc() -> None:
    """Raise OssctlError if this build of llama.cpp has no RPC."""
    if not has_function("ggml_backend_rpc_add_server"):
        raise OssctlError(
            "this build of llama.cpp has no RPC backend", f"To rebuild it, run {rebuild_command()}"
        )


def check_worker(address: str, seconds: float = _SECONDS) -> None:
    """Greet a worker. Raises WorkerError if it does not answer or speaks another protocol."""
    try:
        with socket.create_connection(split_address(address), seconds) as connection:
            connection.sendall(_HELLO)
            size, *version = _ANSWER.unpack(_receive(connection, _ANSWER.size))
    except TimeoutError:
        raise WorkerAbsent(
            f"worker {address} does not answer within {seconds:g} seconds",
            "It is out of reach, frozen, or busy: a worker serves one client at a time.",
        ) from None
    except ConnectionRefusedError:
        raise WorkerAbsent(
            f"no worker listens at {address}", "Start `ossctl worker` there, or correct the address."
        ) from None
    except EOFError:
        raise WorkerError(
            f"{address} does not speak llama.cpp's RPC protocol {_text(PROTOCOL)}",
            "It is another program, or a worker of an older llama.cpp.",
        ) from None
    except OSError as error:
        raise WorkerAbsent(f"worker {address} cannot be reached: {error.strerror or error}") from None
    if size != _ANSWER.size - 8:
        raise WorkerError(f"{address} does not speak llama.cpp's RPC protocol; it is another program")
    if version[0] != PROTOCOL[0] or version[1] > PROTOCOL[1]:
        raise WorkerError(
            f"worker {address} speaks version {_text(version)} of llama.cpp's RPC protocol, "
            f"this program {_text(PROTOCOL)}",
            "Install the same ossctl on both machines.",
        )


def _receive(connection: socket.socket, n_bytes: int) -> bytes:
    data = b""
    while len(data) < n_bytes:
        part = connection.recv(n_bytes - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _text(version: tuple[int, ...] | list[int]) -> str:
    return ".".join(map(str, version[:2]))


class _Workers:
    """The workers of this process. llama.cpp can add some, but not remove any."""

    def __init__(self) -> None:
        self.added: list[str] = []
        self._mute: set[str] = set()  # those that answer no questions

    def offers(self, address: str) -> tuple[int, ...]:
        """The bytes that each device of a worker offers; () if it does not tell."""
        tries = range(0 if address in self._mute else _QUESTIONS)
        for found in (ask_worker(address, _ANSWER_SECONDS) for _ in tries):
            if found is not None:
                return found
        self._mute.add(address)
        return ()

    def add(self) -> None:
        """Make the workers named in the environment devices of this process. Raises OssctlError."""
        text = os.environ.get(VARIABLE, "")
        new = [each for each in parse_addresses(text) if each not in self.added] if text.strip() else []
        if not new:
            return
        require_rpc()
        for address in new:
            check_worker(address)
        for address in new:
            self._register(address)

    def _register(self, address: str) -> None:
        pointer = ctypes.c_void_p
        registered = function("ggml_backend_rpc_add_server", pointer, ctypes.c_char_p)(address.encode())
        if not registered:
            raise WorkerError(f"worker {address} has no devices")
        function("ggml_backend_register", None, pointer)(registered)
        self.added.append(address)


def is_loopback(address: str) -> bool:
    """Whether an address is of this machine's loopback."""
    host, _ = split_address(address)
    return host == "localhost" or host.startswith("127.")


_workers = _Workers()
add_workers = _workers.add
offers_of_worker = _workers.offers


def added_workers() -> tuple[str, ...]:
    """The workers that are devices of this process."""
    return tuple(_workers.added)


def ask_worker(address: str, seconds: float) -> tuple[int, ...] | None:
    """The bytes that each device of a worker offers; None if it does not answer. For any thread."""
    return ask(split_address(address), seconds)


def lost_workers(cause: str) -> str:
    """A sentence on the workers that are gone if `cause` of an abort is a lost connection; else ""."""
    if not _workers.added or not any(text in cause for text in _LOST):
        return ""
    gone = list(_unreachable()) or _workers.added
    if len(gone) == 1:
        return f"worker {gone[0]} is gone"
    if len(gone) == len(_workers.added) > 1:
        return f"one of the workers {', '.join(gone)} is gone"
    return f"workers {', '.join(gone)} are gone"


def _unreachable() -> Iterator[str]:
    for address in _workers.added:
        try:
            with suppress(TimeoutError):
                socket.create_connection(split_address(address), 1).close()
        except OSError:
            yield address
