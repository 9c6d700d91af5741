"""A real pseudo-terminal with a screen: what a user would see, and what he types."""

import re
import shlex
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pexpect
import pyte

from tests.support.command import command, environment

_SECONDS = 30.0  # until what is waited for has to be there


def _hang_up_ends_it() -> None:
    """As in a terminal, also where the tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Terminal:
    """`ossctl` with its screen: `columns` by `rows`, and all that has scrolled away above.

    With `shell`, it is a job of a shell that can suspend and continue it.
    """

    def __init__(
        self,
        *arguments: object,
        cwd: Path,
        columns: int = 80,
        rows: int = 24,
        variables: Mapping[str, str] | None = None,
        shell: bool = False,
    ) -> None:
        program, *rest = command(*arguments)
        line = f"{shlex.join([program, *rest])}\r"
        if shell:
            program, rest = "bash", ["--norc", "--noprofile", "-i"]
        found = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PS1": "$ ", **(variables or {})}
        self.screen = pyte.HistoryScreen(columns, rows, history=100_000)
        self._stream = pyte.ByteStream(self.screen)
        self._text: str | None = None  # until something is written: to render it takes long
        self.raw = b""
        self.started = time.monotonic()
        self.process: pexpect.spawn[bytes] = pexpect.spawn(
            program,
            rest,
            cwd=str(cwd),
            env=environment(cwd, **found),
            dimensions=(rows, columns),
            timeout=_SECONDS,
            preexec_fn=_hang_up_ends_it,
        )
        self.process.delaybeforesend = None
        if shell:
            self.process.send(line)

    @property
    def lines(self) -> list[str]:
        """The lines that are on the screen."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        """All lines, from the first on. One that fills its row goes on in the next."""
        if self._text is None:
            self._text = self._render()
        return self._text

    def _render(self) -> str:
        columns = self.screen.columns
        above = ["".join(line[x].data for x in range(columns)) for line in self.screen.history.top]
        rows = [line.rstrip() for line in [*above, *self.lines]]
        return "".join(row if len(row) == columns else f"{row}\n" for row in rows)

    def press(self, text: str) -> None:
        """Press keys."""
        self.process.send(text)

    def enter(self, text: str) -> None:
        """Type a line and Enter."""
        self.process.send(f"{text}\r")

    def paste(self, text: str) -> None:
        """What a terminal sends for pasted text."""
        self.process.send(f"\x1b[200~{text}\x1b[201~")

    def wait(self, until: str | Callable[[str], object], seconds: float = _SECONDS) -> Any:
        """Take in what is written until that pattern, or that of the whole text, is there."""
        deadline = time.monotonic() + seconds
        while True:
            self.read(0.02)
            found = re.search(until, self.text) if isinstance(until, str) else until(self.text)
            if found:
                return found
            if not self.process.isalive() and not self.read(0.1):
                found = re.search(until, self.text) if isinstance(until, str) else until(self.text)
                assert found, f"the program ended, with:\n{self.text}"
                return found
            assert time.monotonic() < deadline, f"{until} is not there:\n{self.text}"

    def read(self, seconds: float) -> bool:
        """Take in what comes within that time; whether anything did."""
        try:
            data = self.process.read_nonblocking(65_536, seconds)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return False
        self.raw += data
        self._stream.feed(data)
        self._text = None
        self._answer_queries(data)
        return True

    def settle(self, seconds: float = 0.3) -> None:
        """Take in all until nothing comes for a while."""
        while self.read(seconds):
            pass

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        self.screen.ensure_vbounds()  # pyte leaves the cursor below a screen that has become lower
        self.screen.ensure_hbounds()
        self._text = None
        self.process.setwinsize(rows, columns)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        deadline = time.monotonic() + _SECONDS
        while self.process.isalive() and time.monotonic() < deadline:
            self.read(0.05)
        self.read(0.05)
        self.process.close()
        status = self.process.exitstatus
        return int(status if status is not None else -(self.process.signalstatus or 0))

    def _answer_queries(self, data: bytes) -> None:
        """A program may ask where the cursor is."""
        for _ in range(data.count(b"\x1b[6n")):
            self.process.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.isalive():
            self.process.kill(signal.SIGKILL)
            self.process.wait()  # on a busy machine longer than pexpect would
        self.process.close()
