"""Starting programs as the user has written them, waiting for them, and ending them with their children."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Protocol

from ossctl.app.tools.source import POLL_SECONDS
from ossctl.errors import UsageError


class _Process(Protocol):
    """A process of subprocess or of asyncio."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...


def argv_of(command: str, where: str) -> tuple[str, ...]:
    """The words of a command. Raises UsageError, which names `where`, if a quote is not closed."""
    try:
        return tuple(shlex.split(command, posix=os.name == "posix"))
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def startable(argv: Sequence[str]) -> list[str]:
    """The words as the system can start them: on Windows, `npx` is npx.cmd, which only a search finds."""
    program, *arguments = argv
    return [(shutil.which(program) if sys.platform == "win32" else None) or program, *arguments]


def exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """Wait a moment; return the exit code if the process has ended."""
    try:
        return process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def signal_group(process: _Process, number: int) -> None:
    """Send a signal to a process with a session of its own, and to its children, if any are left.

    Windows has no signals: there, the process is killed without its children.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter on macOS, if all have ended
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, number)


def kill_group(process: _Process) -> None:
    """Kill a process with a session of its own, and its children."""
    signal_group(process, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
