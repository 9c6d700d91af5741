"""Ask the fork server for a program: with few imports, since its users start it hundreds of times."""

import array
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LENGTH = struct.Struct("!Q")  # of a request
NUMBER = struct.Struct("!i")  # of a process, and then its exit code as `subprocess` has it


def request(
    address: str,
    arguments: Sequence[str],
    cwd: str,
    environment: Mapping[str, str],
    streams: Sequence[int],
) -> socket.socket:
    """Start a program: `streams` are its stdin, stdout and stderr.

    Returns a connection that tells two NUMBERs. To close it kills the program.
    """
    program = {"arguments": arguments, "cwd": cwd, "environment": environment}
    data = json.dumps(program).encode()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))
    connection.sendmsg([LENGTH.pack(len(data))], [rights])
    connection.sendall(data)
    return connection


def received(connection: socket.socket, n: int) -> bytes:
    """The next `n` bytes. Raises EOFError."""
    data = bytearray()
    while len(data) < n:
        piece = connection.recv(n - len(data))
        if not piece:
            raise EOFError("the fork server's end of a connection is closed")
        data += piece
    return bytes(data)


def next_number(connection: socket.socket) -> int:
    """The next of a connection's NUMBERs. Raises EOFError."""
    return int(NUMBER.unpack(received(connection, NUMBER.size))[0])


def stand_in(address: str) -> None:
    """Be the program that is started, as far as a shell can tell."""
    streams = (0, 1, 2)
    connection = request(address, sys.argv[1:], str(Path.cwd()), dict(os.environ), streams)
    pid = next_number(connection)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os.kill(pid, number))
    code = next_number(connection)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
