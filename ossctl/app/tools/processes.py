"""Starting programs as the user has written them, waiting for them, and ending them with their children."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Protocol

from ossctl.app.tools.source import POLL_SECONDS
from ossctl.errors import UsageError

# Windows' counterpart of `start_new_session`, as far as Ctrl-C is concerned: CREATE_NEW_PROCESS_GROUP.
NEW_GROUP = 0x200 if sys.platform == "win32" else 0

_WINDOWS_PART = re.compile(r'\\*"|\\+|[ \t]+|[^\\" \t]+')


class _Process(Protocol):
    """A process of subprocess or of asyncio."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...


def argv_of(command: str, where: str) -> tuple[str, ...]:
    """The words of a command. Raises UsageError, which names `where`, if a quote is not closed."""
    try:
        return tuple(windows_words(command) if os.name == "nt" else shlex.split(command))
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def windows_words(command: str) -> list[str]:
    """The words of a command on Windows, by the rules of Microsoft's C runtime. Raises ValueError.

    Words end at spaces and tabs outside double quotes. Backslashes are special only before a double quote,
    where two stand for one. A double quote after an odd number of them, or one of two within quotes, is text.
    """
    words: list[str] = []
    word: str | None = None
    quoted = False
    parts = _WINDOWS_PART.finditer(command)
    for part in parts:
        text = part[0]
        if text.endswith('"'):
            backslashes, odd = divmod(len(text) - 1, 2)
            twice = quoted and not odd and command.startswith('"', part.end())
            word = (word or "") + "\\" * backslashes + ('"' if odd or twice else "")
            if twice:
                next(parts)
            elif not odd:
                quoted = not quoted
        elif quoted or text[0] not in " \t":
            word = (word or "") + text
        elif word is not None:
            words.append(word)
            word = None
    if quoted:
        raise ValueError("No closing quotation")
    return words if word is None else [*words, word]


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
