"""Connecting to a Ray cluster, which is bounded in time and never writes to standard output."""

import atexit
import contextlib
import io
import logging
import os
import re
import socket
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from threading import Thread
from typing import Any

from ossctl.errors import OssctlError, UsageError

AUTO = "auto"
_ANSWERS_WITHIN = 5.0  # seconds, for a TCP connection to the head
_CONNECTS_WITHIN = 30.0  # seconds; it takes about one. Ray itself tries for ever
_MAX_MESSAGE = 300  # characters
_ENDS_WITHIN = 1.0  # seconds; without a head, leaving the cluster may hang
_SILENT_HINT = "Is its head node running? If it requires a token, set RAY_AUTH_MODE=token here as well."
_START_HINT = "`ray start` starts one: docs/cluster.md shows how."
# Ray sends no statistics of ours, and does not repeat `uv run` on the nodes.
_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Yield the module `ray`, connected to the cluster at `address`, which is HOST:PORT or `auto`.

    Until the end of the block, what is printed goes to the log instead of standard output: Ray prints there
    when a node dies, whatever it is asked. Raises UsageError, OssctlError.
    """
    check_address(address)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with contextlib.redirect_stdout(_Log()):
        ray = import_module("ray")
        _connect(ray, address)
        try:
            yield ray
        except OssctlError as error:
            error.ends_at_once = not _left(ray)
            raise
        else:
            _left(ray)


def _left(ray: Any) -> bool:
    """Leave the cluster; False if that hangs. Threads of Ray may then crash Python as it ends."""
    leaving = Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(_ENDS_WITHIN)
    atexit.unregister(ray.shutdown)  # which would try once more
    return not leaving.is_alive()


def check_address(address: str) -> None:
    """Raise UsageError if Ray is not installed, or nothing listens at `address`."""
    if find_spec("ray") is None:
        raise UsageError("--cluster needs Ray", 'Run: pip install "ossctl[cluster]"')
    check_form(address)
    if address == AUTO:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"no Ray cluster answers at {address}: {reason}", _START_HINT) from None


def check_form(address: str) -> None:
    """Raise UsageError if `address` is neither HOST:PORT nor `auto`."""
    if address == AUTO:
        return
    if "://" in address:
        raise UsageError(
            f"--cluster: {address} is a Ray Client address",
            "Run ossctl on a node of the cluster, with HOST:PORT of the head, or auto.",
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(
            f"--cluster: {address or 'nothing'} is not HOST:PORT",
            "auto is the cluster this machine belongs to.",
        )


def _connect(ray: Any, address: str) -> None:
    """Connect on a thread of its own, because that blocks for ever if the head does not answer."""
    problems: list[BaseException] = []

    def connect() -> None:
        try:
            # A thread other than the main one also keeps Ray from replacing the handler of SIGTERM.
            ray.init(address, log_to_driver=False, configure_logging=False, logging_level=logging.CRITICAL)
        except BaseException as error:  # noqa: BLE001 (raised below; Ray also ends threads with SystemExit)
            problems.append(error)

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    thread = Thread(target=connect, name="ray", daemon=True)
    thread.start()
    thread.join(_CONNECTS_WITHIN)
    if thread.is_alive():
        message = f"the Ray cluster at {address} did not answer within {_CONNECTS_WITHIN:.0f} s"
        raise OssctlError(message, _SILENT_HINT)
    for error in problems:
        _log.info("ray.init: %s", error)
        raise UsageError(f"cannot join the Ray cluster at {address}: {in_one_line(error)}", _hint(error))


def in_one_line(error: BaseException) -> str:
    """The message of an error of Ray, whose tables and advice take many lines."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = re.sub(r"\s*\n\s*", " ", text).strip().rstrip(".")
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}…"


def _hint(error: BaseException) -> str:
    if "ersion mismatch" in str(error):
        return "All nodes need the same versions of Python and Ray."
    return _SILENT_HINT if isinstance(error, ConnectionError) else ""


class _Log(io.TextIOBase):
    """A text file whose lines become entries of the log."""

    def write(self, text: str) -> int:
        if text.strip():
            _log.info("ray: %s", text.strip())
        return len(text)

    def writable(self) -> bool:
        return True
