"""Runs the model's Python in Monty, an interpreter for a part of Python that has no access to the system."""

import contextlib
import os
import re
import signal
import tokenize
from io import StringIO
from pathlib import Path
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from ossctl.app.tools.python.interpreter import SHARED, Cell, Limits, Unavailable, shortened, stop_reason
from ossctl.app.tools.source import MAX_RESULT_BYTES, POLL_SECONDS, KeepGoing

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontySession

_END_SECONDS = 0.2
_MAX_SUSPENSIONS = 1_000_000  # every file that is read counts as one; Monty's own limit is 1000
_MARKS = re.compile(r"^ +~+\n", re.MULTILINE)
_FILE = re.compile(r'"<python-input-(\d+)>"')
_SHOW = "_ = ("  # before a last expression; what follows it shows the value


class MontyPlace:
    """A process per interpreter, which starts within milliseconds. Needs the package pydantic-monty."""

    title = "Monty"
    missing = (
        "This is a small Python: there are no packages such as numpy or sympy, and of the standard library "
        "only math, re, json, datetime, time, random, decimal, itertools, functools, collections, bisect, "
        "hashlib, base64, csv, copy, typing, dataclasses, asyncio and pathlib. Files cannot be written."
    )

    def __init__(self) -> None:
        self._pool: Monty | None = None
        self._lock = Lock()

    def check(self) -> None:
        """Import the package. Raises Unavailable."""
        try:
            import pydantic_monty  # noqa: F401
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError)
            reason = "is not installed" if missing else f"cannot be imported: {error}"
            raise Unavailable(f"pydantic-monty {reason}", 'Run: pip install "ossctl[python]"') from None

    def start(self, limits: Limits, shared: Path | None) -> "MontyInterpreter":
        """Take a process from the pool, which grows as needed."""
        from pydantic_monty import MontyError

        try:
            session = self._started().checkout(
                limits={"max_memory": limits.memory, "max_suspensions": _MAX_SUSPENSIONS},
                os_policy={"sleep_system_max": limits.seconds},
            )
            return MontyInterpreter(session.__enter__(), limits, shared)
        except (OSError, MontyError) as error:
            raise Unavailable(f"Monty cannot be started: {error}", "Try --python-in bwrap.") from None

    def close(self) -> None:
        """End the pool."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)

    def _started(self) -> "Monty":
        from pydantic_monty import Monty

        with self._lock:
            if self._pool is None:
                # More conversations than CPUs may be open, most of them idle.
                self._pool = Monty(min_processes=0, max_processes=10_000).__enter__()
            return self._pool


class MontyInterpreter:
    """A session of Monty. A running call can be stopped only by killing its process."""

    def __init__(self, session: "MontySession", limits: Limits, shared: Path | None) -> None:
        self._session = session
        self._pid = session.worker_pid  # not known while it runs
        self._limits = limits
        self._mount = _mounted(shared) if shared else None
        self._abandoned = False

    def run(self, code: str, keep_going: KeepGoing) -> Cell:
        """Run the code on a thread, and kill the process if it has to stop."""
        feed = _Feed(self._session, code, self._mount)
        deadline = monotonic() + self._limits.seconds
        going, reason = True, ""
        while not reason and not feed.ended(POLL_SECONDS):
            going = keep_going()
            reason = stop_reason(self._limits, going=going, printed=feed.printed, late=monotonic() > deadline)
        if reason:
            self._kill()
            # The process is gone, but a sleep of the code may go on, in a thread of the library.
            self._abandoned = not feed.ended(_END_SECONDS)
        output = shortened(bytes(feed.output), feed.printed)
        return Cell(output, reason or feed.error, lost=bool(reason) or feed.crashed, stopped=not going)

    def close(self) -> None:
        """Give the process back."""
        if self._abandoned:
            return
        self._session.__exit__(None, None, None)
        if self._mount is not None:
            self._mount.close()

    def _kill(self) -> None:
        if self._pid is not None:
            with contextlib.suppress(OSError):  # it has ended: Windows has several errors for that
                os.kill(self._pid, getattr(signal, "SIGKILL", signal.SIGTERM))


class _Feed:
    """One piece of code that runs on a thread, with what it has printed so far."""

    def __init__(self, session: "MontySession", code: str, mount: Any) -> None:
        self.output = bytearray()
        self.printed = 0
        self.error = ""
        self.crashed = False
        self._session, self._code, self._mount = session, code, mount
        self._thread = Thread(target=self._run, name="python", daemon=True)
        self._thread.start()

    def ended(self, seconds: float) -> bool:
        """Wait for the end, at most `seconds`."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        from pydantic_monty import MontyCrashedError, MontyError, MontyRuntimeError, MontySyntaxError

        try:
            try:
                self._feed(_showing_last(self._code))
            except MontySyntaxError:  # the last statement is no expression, or there is a mistake
                self._feed(self._code)
        except (MontySyntaxError, MontyRuntimeError) as error:
            self.error = _traceback(error.display())
        except MontyCrashedError as error:
            self.error, self.crashed = f"the interpreter crashed: {error}", True
        except MontyError as error:
            self.error = str(error)

    def _feed(self, code: str) -> None:
        self._session.feed_run(code, print_callback=self._take, mount=self._mount)

    def _take(self, _stream: str, text: str) -> None:
        data = text.encode("utf-8", "replace")
        self.printed += len(data)
        self.output += data[: MAX_RESULT_BYTES - len(self.output)]


def _mounted(shared: Path) -> Any:
    from pydantic_monty import MountDir

    return MountDir(host_path=shared, virtual_path=SHARED, mode="read-only")


def _traceback(text: str) -> str:
    """Monty's traceback without the marks below the lines, which our own characters have moved."""
    return _FILE.sub(r'"<cell>"', _MARKS.sub("", text + "\n")).replace(_SHOW, "").rstrip()


def _showing_last(code: str) -> str:
    """The code with a last statement that prints its value if it is not None, as Jupyter does.

    The statement need not be an expression; then the result is a syntax error before anything has run. The
    code comes from the model: it is split into tokens here but never parsed, since deep nesting can exhaust
    the stack of Python's own parser. Nor does Monty return the value, which may be as large as its memory.
    """
    # Lines end where Python ends them, and not at a form feed or U+2028.
    lines = StringIO(code, newline=None).readlines()
    try:
        row, column = _last_statement("".join(lines))
    except (tokenize.TokenError, SyntaxError):
        return code
    head = "".join(lines[: row - 1]) + lines[row - 1][:column]
    tail = lines[row - 1][column:] + "".join(lines[row:])
    tail = tail.rstrip().removesuffix(";")
    return f"{head}{_SHOW}{tail}\n)\nif _ is not None: print(repr(_))\n"


def _last_statement(code: str) -> tuple[int, int]:
    """Line and column where the last statement outside of any block begins. Raises SyntaxError."""
    begins: tuple[int, int] | None = None
    indents, brackets, fresh = 0, 0, True
    skipped = (tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(StringIO(code).readline):
        if token.type in (tokenize.INDENT, tokenize.DEDENT):
            indents += 1 if token.type == tokenize.INDENT else -1
        elif token.type == tokenize.NEWLINE:
            fresh = True
        elif token.type not in skipped:
            if fresh and not indents:
                begins = token.start
            fresh = token.string == ";" and not brackets
            brackets += (token.string in tuple("([{")) - (token.string in tuple(")]}"))
    if begins is None:
        raise SyntaxError("there is no statement")
    return begins
