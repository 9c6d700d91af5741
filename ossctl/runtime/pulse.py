"""A worker's heartbeats, and the memory it offers, by UDP at the port of its RPC.

llama.cpp's RPC serves one client at a time, cannot be asked anything while it computes, and reports all RAM
of a CPU as free. Questions by UDP get no answer through a tunnel of ssh or from other programs' RPC servers.
"""

import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

Address = tuple[str, int]

_ANSWER = b"ossctl!\x01"  # with the version of these messages
_MAX_DEVICES = 16  # GGML_RPC_MAX_SERVERS, ggml/include/ggml-rpc.h
_QUESTION = b"ossctl?\x01".ljust(len(_ANSWER) + 8 * _MAX_DEVICES, b"\x00")  # as long as any answer

# Of a device whose free memory is as llama.cpp reports it.
WHATEVER_IS_FREE = (1 << 64) - 1


def answer(address: Address, offers: Callable[[], Sequence[int]]) -> None:
    """Answer questions, for ever. `offers` are the bytes that clients may use of each device that is served.

    Raises OSError if the address cannot be used.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(address)
        while True:
            with suppress(OSError):  # of one client
                question, client = server.recvfrom(len(_QUESTION) + 1)
                if question == _QUESTION:
                    numbers = offers()[:_MAX_DEVICES]
                    server.sendto(_ANSWER + struct.pack(f"<{len(numbers)}Q", *numbers), client)


def ask(address: Address, seconds: float) -> tuple[int, ...] | None:
    """The bytes that each device of a worker offers; None if it does not answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        try:
            client.connect(address)
            client.send(_QUESTION)
            found = client.recv(len(_QUESTION) + 1)
        except OSError:
            return None
    numbers = found[len(_ANSWER) :]
    if not found.startswith(_ANSWER) or len(numbers) % 8:
        return None
    return tuple(number for (number,) in struct.iter_unpack("<Q", numbers))
