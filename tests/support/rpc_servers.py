"""llama.cpp's RPC servers on this machine: with nothing but a CPU, devices that llama.cpp takes for GPUs."""

import ctypes
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ossctl.runtime.bindings import lib
from ossctl.runtime.ggml import function

_SERVER = """
import ctypes, sys
from ossctl.runtime.ggml import function
pointer = ctypes.c_void_p
cpu = function("ggml_backend_dev_by_type", pointer, ctypes.c_int)(0)
exec(sys.argv[2])
start = function(
    "ggml_backend_rpc_start_server", None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t,
    ctypes.c_size_t, ctypes.POINTER(pointer),
)
start(sys.argv[1].encode(), None, 1, 1, (pointer * 1)(cpu))
"""


# Tampering with a server: each graph is left to `compute` instead of the CPU. The places of the
# functions are those of struct ggml_backend_device_i and ggml_backend, ggml/src/ggml-backend-impl.h.
_COMPUTING = """
import os, signal
make, compute = ctypes.CFUNCTYPE(pointer, pointer, pointer), ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)
device = (pointer * 6).from_address(cpu)
usual = make(device[5])
compute = compute(lambda _backend, _graph: {compute})
def init(device, parameters):
    backend = usual(device, parameters)
    (pointer * 16).from_address(backend)[13] = ctypes.cast(compute, pointer).value
    return backend
init = make(init)
device[5] = ctypes.cast(init, pointer).value
"""
NOTHING = _COMPUTING.format(compute="0")  # "success", and nothing done
DEATH = _COMPUTING.format(compute="os.kill(os.getpid(), signal.SIGKILL)")


def has_servers() -> bool:
    """Whether this build of llama.cpp can serve, and this system lets it."""
    return sys.platform == "linux" and hasattr(lib._lib, "ggml_backend_rpc_add_server")


@contextmanager
def rpc_server(tampering: str = "") -> Iterator[str]:
    """A server on a free port of this machine; gives its address.

    `tampering` is Python that runs there before it serves, with `cpu` the device that it will use.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen([sys.executable, "-c", _SERVER, address, tampering], stdout=subprocess.DEVNULL)
    try:
        _wait_for(address)
        yield address
    finally:
        process.kill()
        process.wait()


def register(addresses: Sequence[str]) -> None:
    """Make the servers devices of this process, as RPC0 and so on. Raises OSError where nobody listens.

    llama.cpp ends the process on a connection that fails, so each is tried first.
    """
    lib.llama_backend_init()
    pointer = ctypes.c_void_p
    for address in addresses:
        _connect(address)
        registered = function("ggml_backend_rpc_add_server", pointer, ctypes.c_char_p)(address.encode())
        function("ggml_backend_register", None, pointer)(registered)


def _wait_for(address: str) -> None:
    for _ in range(200):
        try:
            _connect(address)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"no RPC server at {address}")


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), 1).close()
