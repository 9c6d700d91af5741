"""Runs the user's programs for the model's tool calls."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Thread
from time import monotonic
from typing import IO

from ossctl.app.tools.arguments import program_input
from ossctl.app.tools.processes import NEW_GROUP, exit_code, kill_group, startable
from ossctl.app.tools.question import call_text
from ossctl.app.tools.source import MAX_RESULT_BYTES, KeepGoing, ToolOutcome, failed, stopped, truncated
from ossctl.build import command_line
from ossctl.dialect import Tool, ToolCall

_READ_BYTES = 16 * 1024

# The environment variables that a program gets: enough to start, but no secrets.
_POSIX = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_WINDOWS = ("SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "TEMP", "TMP", "USERPROFILE", "APPDATA")
_ENVIRONMENT = {*_POSIX, *_WINDOWS}


@dataclass(frozen=True, eq=False)
class ToolCommands:
    """Functions and the programs that answer them, by the functions' names. They keep no state."""

    functions: tuple[Tool, ...]
    programs: "Mapping[str, ToolCommand]"
    concurrent: bool = False  # what the programs do may depend on their order

    def tools(self) -> Sequence[Tool]:
        return self.functions

    def describe(self, name: str, /) -> str:
        program = self.programs[name]
        return f"{command_line(program.argv)}, at most {program.seconds:g} s"

    def notes(self) -> Sequence[str]:
        return ()

    def open(self) -> "ToolCommands":
        return self

    def question(self, call: ToolCall) -> str:
        return call_text(call)

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        return self.programs[call.name].run(call, keep_going)

    def close(self) -> None:
        """Nothing is left running."""


@dataclass(frozen=True)
class ToolCommand:
    """A program that gets the arguments of a call as JSON on stdin, and is killed after `seconds`.

    It is not run by a shell.
    """

    argv: tuple[str, ...]
    seconds: float

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        """Run the program while `keep_going()` is true. Failures are results for the model, not raised."""
        try:
            arguments = program_input(call)
        except ValueError as error:
            return failed(call, str(error))
        if not keep_going():
            return stopped(call)
        return _outcome(call, run_program(self.argv, arguments.encode(), self.seconds, keep_going))


def _outcome(call: ToolCall, ended: "Ended") -> ToolOutcome:
    if ended.stopped:
        return stopped(call)
    if ended.full:
        return ToolOutcome(call, truncated(ended.output), ok=True)
    if ended.problem:
        return failed(call, ended.problem)
    if ended.code != 0:
        said = (ended.errors or ended.output).strip()
        return failed(call, f"exit code {ended.code}{': ' if said else ''}{said}")
    return ToolOutcome(call, ended.output.rstrip("\r\n"), ok=True)


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code and what it printed, or the `problem` that has kept it from ending.

    `full` if it was killed because it printed more than MAX_RESULT_BYTES, `stopped` if it was told to stop.
    """

    code: int | None = None
    output: str = ""
    errors: str = ""
    problem: str = ""
    full: bool = False
    stopped: bool = False


def run_program(argv: Sequence[str], data: bytes, seconds: float, keep_going: KeepGoing) -> Ended:
    """Run a program with `data` on stdin, for at most `seconds` and while `keep_going()` is true.

    Its environment has what it takes to start, but no secrets.
    """
    with tempfile.TemporaryFile() as stdin:
        stdin.write(data)
        stdin.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603 (the user chose this program)
                startable(argv),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={name: value for name, value in os.environ.items() if name in _ENVIRONMENT},
                start_new_session=True,  # so that its children can be killed with it
                creationflags=NEW_GROUP,
            )
        except OSError as error:
            return Ended(problem=f"{argv[0]} cannot be run: {error.strerror}")
    return _wait(process, seconds, keep_going)


def _wait(process: subprocess.Popen[bytes], seconds: float, keep_going: KeepGoing) -> Ended:
    if process.stdout is None or process.stderr is None:
        raise ValueError("the program's output is not piped")
    output, errors = _Capture(process.stdout), _Capture(process.stderr)
    deadline = monotonic() + seconds
    going = True
    while (code := exit_code(process)) is None and not output.full and monotonic() < deadline and going:
        going = keep_going()
    kill_group(process)
    process.wait()
    text = output.text()
    if output.full:
        return Ended(
            code, text, problem=f"killed because it printed more than {MAX_RESULT_BYTES:,} bytes", full=True
        )
    if code is None and not going:
        return Ended(problem="stopped", stopped=True)
    problem = f"killed because it took more than {seconds:g} s" if code is None else ""
    return Ended(code, text, errors.text(), problem)


class _Capture:
    """Reads a pipe on a thread and keeps the first MAX_RESULT_BYTES."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._data = bytearray()
        self.full = False
        self._thread = Thread(target=self._read, name="tool", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """The output so far; call it after the program has ended."""
        self._thread.join(1.0)  # a child in another session may still hold the pipe open
        return bytes(self._data).decode("utf-8", "replace")

    def _read(self) -> None:
        with self._pipe:
            while data := os.read(self._pipe.fileno(), _READ_BYTES):
                self._data += data[: MAX_RESULT_BYTES - len(self._data)]
                self.full = self.full or len(self._data) == MAX_RESULT_BYTES
