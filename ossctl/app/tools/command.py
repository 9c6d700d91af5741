"""Functions of the model's that are programs of the user's."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from time import monotonic
from typing import IO

import msgspec

from ossctl.dialect import ToolCall

MAX_ROUNDS = 8  # of calls, before a model that only calls is stopped
MAX_OUTPUT_BYTES = 64 * 1024  # some 16,000 tokens: more would push out what was asked
_READ_BYTES = 16 * 1024
_POLL_SECONDS = 0.05

# What a program gets of this process's environment: enough to start, and none of its secrets.
_ENVIRONMENT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_WINDOWS = ("SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "TEMP", "TMP", "USERPROFILE", "APPDATA")


@dataclass(frozen=True)
class ToolOutcome:
    """What a call brought. `result` is what the model reads; `ok` is whether the program did its work."""

    call: ToolCall
    result: str
    ok: bool


@dataclass(frozen=True)
class ToolCommand:
    """A program, not run by a shell, that gets a call's arguments as JSON on its standard input.

    After `seconds` it is stopped.
    """

    argv: tuple[str, ...]
    seconds: float

    def run(self, call: ToolCall, keep_going: Callable[[], bool]) -> ToolOutcome:
        """Run the program. What goes wrong is for the model to know; `keep_going` False stops it."""
        try:
            arguments = msgspec.json.encode(msgspec.json.decode(call.arguments.strip() or "{}"))
        except msgspec.DecodeError as error:
            return _failed(call, f"the arguments are not valid JSON: {error}")
        with tempfile.TemporaryFile() as given:
            given.write(arguments)
            given.seek(0)
            try:
                process = subprocess.Popen(  # noqa: S603 (the user named this program)
                    self.argv,
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={name: os.environ[name] for name in (*_ENVIRONMENT, *_WINDOWS) if name in os.environ},
                    start_new_session=True,  # so that what it starts ends with it
                )
            except OSError as error:
                return _failed(call, f"{self.argv[0]} cannot be run: {error.strerror}")
        return self._outcome(call, process, keep_going)

    def _outcome(
        self, call: ToolCall, process: subprocess.Popen[bytes], keep_going: Callable[[], bool]
    ) -> ToolOutcome:
        if process.stdout is None or process.stderr is None:
            raise ValueError("the program's output is not piped")
        output, complaint = _Capture(process.stdout), _Capture(process.stderr)
        deadline = monotonic() + self.seconds
        while (code := _code(process)) is None and not output.full and keep_going():
            if monotonic() > deadline:
                break
        _kill(process)
        text = output.text()
        if output.full:
            return ToolOutcome(call, f"{text}\n[cut: only {MAX_OUTPUT_BYTES:,} bytes are taken]", ok=True)
        if code is None:
            return _failed(call, f"it took more than {self.seconds:g} s and was stopped")
        if code != 0:
            return _failed(call, f"exit code {code}: {(complaint.text() or text).strip()}")
        return ToolOutcome(call, text.rstrip("\r\n"), ok=True)


class _Capture:
    """Reads a pipe to its end on a thread, and keeps what is within the limit."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._data = bytearray()
        self.full = False
        self._thread = Thread(target=self._read, name="tool", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """What has come, when the program has ended."""
        self._thread.join(1.0)  # a program of its own session may still hold the pipe
        return bytes(self._data).decode("utf-8", "replace")

    def _read(self) -> None:
        with self._pipe:
            while data := os.read(self._pipe.fileno(), _READ_BYTES):
                self._data += data[: MAX_OUTPUT_BYTES - len(self._data)]
                self.full = self.full or len(self._data) == MAX_OUTPUT_BYTES


def _code(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failed(call: ToolCall, reason: str) -> ToolOutcome:
    result = msgspec.json.encode({"error": reason}).decode()
    return ToolOutcome(call, result, ok=False)
