"""Crashes in native code, told in two lines.

llama.cpp ends the process where an assertion fails, a driver gives up or a kernel meets an instruction that
the processor lacks. Nothing can go on after that, but the user can be told what died, what is saved and what
to try, the terminal can be usable again, and a file can hold the details.
"""

import ctypes
import faulthandler
import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import Signals
from typing import Any, NoReturn

from ossctl.build import VERSION, rebuild_command
from ossctl.runtime.ggml import function

_FAULTS = ("SIGILL", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGABRT")
_EXIT_CODE = 1
_PATIENCE = 5  # seconds that a report may take
_PLAIN_TERMINAL = "\r\x1b[0m\x1b[?25h\x1b[?2004l"  # no colours, a cursor, no bracketed paste


class CrashReporter:
    """Waits for crashes. `saved` tells the user what is not lost, reports go to `folder`, if there is one."""

    def __init__(self) -> None:
        self.saved = ""
        self.folder: Path | None = None
        self._log: Callable[[], Sequence[str]] = list
        self._installed = self._ending = False
        # C keeps the pointers, not the objects
        self._on_signal = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._faulted)
        self._on_abort = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(self._aborted)

    def install(self, log: Callable[[], Sequence[str]]) -> None:
        """Take over the signals of faults and ggml's abort; `log` gives the lines that a report ends with.

        Not beside Python's faulthandler, which is for those who debug.
        """
        if self._installed or faulthandler.is_enabled():
            return
        self._installed, self._log = True, log
        set_callback = function("ggml_set_abort_callback", ctypes.c_void_p, ctypes.c_void_p)
        set_callback(ctypes.cast(self._on_abort, ctypes.c_void_p))
        if os.name == "posix":
            # Python's own handlers run between two of its instructions: the faulty one would run again first.
            libc = ctypes.CDLL(None)
            libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
            for name in _FAULTS:
                libc.signal(Signals[name], ctypes.cast(self._on_signal, ctypes.c_void_p))

    def stand_aside(self) -> None:
        """Let this process die of its signal: another one waits for that. Call it before `install`."""
        self._installed = True

    def _aborted(self, message: bytes) -> None:
        """ggml_abort: a failed assertion, with its place in the source."""
        self._end(message.decode("utf-8", "replace").replace("\n", " "))

    def _faulted(self, number: int) -> None:
        """On the thread that failed, which may be none of Python's."""
        self._end(Signals(number).name)

    def _end(self, cause: str) -> NoReturn:
        try:
            if self._ending:  # the other threads of a kernel fail as well
                time.sleep(_PATIENCE)
            self._ending = True
            report = self._write_report(cause)
            _restore_terminal()
            if os.isatty(1):
                os.write(1, b"\n")
            lines = f"ossctl: llama.cpp crashed: {cause}. {self.saved}".rstrip() + f"\n{_advice(report)}\n"
            os.write(2, lines.encode("utf-8", "replace"))
        finally:
            os._exit(_EXIT_CODE)  # to return would be to run the faulty instruction again

    def _write_report(self, cause: str) -> Path | None:
        """The file with the details; None where it cannot be written."""
        if self.folder is None:
            return None
        path = self.folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}.txt"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8") as file:
                file.write(f"{cause}\nllama-cpp-python {VERSION}, Python {sys.version}\n{sys.argv[1:2]}\n")
                file.writelines(f"{line}\n" for line in self._log())
                file.flush()
                faulthandler.dump_traceback(file)
        except OSError:
            return None
        return path


@functools.cache
def crash_reporter() -> CrashReporter:
    """The process's one reporter."""
    return CrashReporter()


def _advice(report: Path | None) -> str:
    details = f" Details: {report}" if report else ""
    return f"`ossctl doctor` shows what works here; this rebuilds llama.cpp: {rebuild_command()}.{details}"


def _restore_terminal() -> None:
    """As `stty sane` does, where a prompt has left it raw."""
    if os.name != "posix":
        return
    import termios

    try:
        settings: list[Any] = termios.tcgetattr(0)
        if settings[3] & termios.ICANON:
            return
        settings[0] |= termios.ICRNL | termios.IXON
        settings[1] |= termios.OPOST | termios.ONLCR
        settings[3] |= termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN
        termios.tcsetattr(0, termios.TCSANOW, settings)
    except (termios.error, OSError):
        return
    if os.isatty(2):
        os.write(2, _PLAIN_TERMINAL.encode())
