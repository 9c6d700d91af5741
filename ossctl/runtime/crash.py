"""Reports crashes in native code in two lines.

llama.cpp ends the process if an assertion fails, a driver gives up or a kernel uses an instruction that the
processor does not have. The process cannot continue, but it can print what crashed, what is saved and what to
try, restore the terminal, and write the details to a file.
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
from ossctl.runtime.rpc import lost_workers

_FAULTS = ("SIGILL", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGABRT")
_EXIT_CODE = 1
LOST_ADVICE = "Start `ossctl worker` there again, or leave it out of --rpc."
_PATIENCE = 5  # seconds for writing a report
_PLAIN_TERMINAL = "\r\x1b[0m\x1b[?25h\x1b[?2004l"  # no colours, cursor shown, no bracketed paste


class CrashReporter:
    """Handles crashes. `saved` is a sentence about what is not lost; if `folder` is set, reports go there.

    `on_lost` gets a sentence on workers that are gone, if that is why the process ends. It may save what it
    can, and return another sentence instead of `saved`.
    """

    def __init__(self) -> None:
        self.saved = ""
        self.folder: Path | None = None
        self.on_lost: Callable[[str], str | None] | None = None
        self._log: Callable[[], Sequence[str]] = list
        self._installed = self._ending = False
        # C keeps only the pointers
        self._on_signal = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._faulted)
        self._on_abort = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(self._aborted)

    def install(self, log: Callable[[], Sequence[str]]) -> None:
        """Handle fault signals and ggml's abort; reports end with the lines of `log`.

        Does nothing if Python's faulthandler is enabled, which means that someone is debugging.
        """
        if self._installed or faulthandler.is_enabled():
            return
        self._installed, self._log = True, log
        set_callback = function("ggml_set_abort_callback", ctypes.c_void_p, ctypes.c_void_p)
        set_callback(ctypes.cast(self._on_abort, ctypes.c_void_p))
        if os.name == "posix":
            # Python runs handlers only between bytecodes, so the faulty instruction would run again first.
            libc = ctypes.CDLL(None)
            libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
            for name in _FAULTS:
                libc.signal(Signals[name], ctypes.cast(self._on_signal, ctypes.c_void_p))

    def stand_aside(self) -> None:
        """Leave signals to kill this process, for a parent that waits for that. Call it before `install`."""
        self._installed = True

    def give_up(self, lost: str) -> NoReturn:
        """End the process, on any thread, because of workers that llama.cpp would wait for."""
        self._end("", lost)

    def _aborted(self, message: bytes) -> None:
        """Called by ggml_abort with a failed assertion and its place in the source."""
        cause = message.decode("utf-8", "replace").replace("\n", " ")
        self._end(cause, lost_workers(cause))

    def _faulted(self, number: int) -> None:
        """Called on the thread that failed, which Python may not know.

        It must not hold the interpreter's lock or wait for it, or the process hangs. Faults in llama.cpp
        happen without it, but a signal that another process sends may come at any time.
        """
        self._end(Signals(number).name)

    def _end(self, cause: str, lost: str = "") -> NoReturn:
        try:
            if self._ending:  # other threads of the same kernel fail, too
                time.sleep(_PATIENCE)
            self._ending = True
            message, advice = (lost, LOST_ADVICE) if lost else self._crashed(cause)
            saved = (self.on_lost(lost) if lost and self.on_lost else "") or self.saved
            _restore_terminal()
            if os.isatty(1):
                os.write(1, b"\n")
            lines = f"ossctl: {message}. {saved}".rstrip() + f"\n{advice}\n"
            os.write(2, lines.encode("utf-8", "replace"))
        finally:
            os._exit(_EXIT_CODE)  # returning would run the faulty instruction again

    def _crashed(self, cause: str) -> tuple[str, str]:
        """What happened, and what to try."""
        return f"llama.cpp crashed: {cause}", _advice(self._write_report(cause))

    def _write_report(self, cause: str) -> Path | None:
        """Write the details to a file; None if that fails."""
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
    """The process's reporter."""
    return CrashReporter()


def _advice(report: Path | None) -> str:
    details = f" Details: {report}" if report else ""
    return f"`ossctl doctor` shows what works here; this rebuilds llama.cpp: {rebuild_command()}.{details}"


def _restore_terminal() -> None:
    """Do what `stty sane` does if a prompt has left the terminal raw."""
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
