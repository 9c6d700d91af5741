"""A fault in native code, told in a line.

llama.cpp ends the process where an assertion fails, a driver gives up or a kernel meets an instruction that
the processor does not have. Nothing can go on after that, but the user can be told what died, what is saved
and what to try, the terminal can be left as it was, and a file can say the rest.
"""

import ctypes
import faulthandler
import functools
import os
import sys
import time
from pathlib import Path
from signal import Signals
from typing import Any, NoReturn

from ossctl.runtime.ggml import function
from ossctl.runtime.library import bindings_version
from ossctl.runtime.log import llama_log

_FAULTS = ("SIGILL", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGABRT")
_EXIT_CODE = 1
_PATIENCE = 5  # seconds that a report may take
_PLAIN_TERMINAL = "\r\x1b[0m\x1b[?25h\x1b[?2004l"  # no colours, a cursor, no bracketed paste


class CrashReporter:
    """Waits for faults. `saved` is what the user need not worry about, `folder` where reports go."""

    def __init__(self) -> None:
        self.saved = ""
        self.folder = Path()
        self._ending = False
        self._terminal = _terminal_settings()
        # C keeps the pointers, not the objects
        self._on_signal = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._faulted)
        self._on_abort = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(self._aborted)

    def install(self) -> None:
        """Take over the signals of faults, unless somebody debugs with Python's faulthandler."""
        function("ggml_set_abort_callback", ctypes.c_void_p, ctypes.c_void_p)(
            ctypes.cast(self._on_abort, ctypes.c_void_p)
        )
        if os.name != "posix" or faulthandler.is_enabled():
            return
        # Python's own handlers run between two of its instructions: too late, the faulty one is run again.
        libc = ctypes.CDLL(None)
        libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
        for name in _FAULTS:
            libc.signal(Signals[name], ctypes.cast(self._on_signal, ctypes.c_void_p))

    def _aborted(self, message: bytes) -> None:
        """ggml_abort: a failed assertion, with where it stands in the source."""
        self._end(message.decode("utf-8", "replace").replace("\n", " "))

    def _faulted(self, number: int) -> None:
        """On the thread that failed, which may be none of Python's."""
        try:
            if self._ending:  # the other threads of a kernel meet the same instruction
                time.sleep(_PATIENCE)
            self._ending = True
            self._end(Signals(number).name)
        finally:
            os._exit(_EXIT_CODE)  # to return would be to run the faulty instruction again

    def _end(self, cause: str) -> NoReturn:
        try:
            advice = self._write_report(cause)
            _restore(self._terminal)
            if os.isatty(1):
                os.write(1, b"\n")
            lines = (f"ossctl: llama.cpp has ended the process: {cause}. {self.saved}".rstrip(), advice)
            os.write(2, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        finally:
            os._exit(_EXIT_CODE)

    def _write_report(self, cause: str) -> str:
        """Returns the line that says what to try, and where the report is."""
        path = self.folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}.txt"
        advice = "`ossctl doctor` tells what works here"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8") as file:
                file.write(f"{cause}\nllama-cpp-python {bindings_version()}, Python {sys.version}\n")
                file.write(f"{sys.argv[1:2]}\n")
                file.writelines(f"{line}\n" for line in llama_log().latest())
                file.flush()
                faulthandler.dump_traceback(file)
        except OSError:
            return f"{advice}."
        return f"{advice}; the log is in {path}."


def report_crashes(folder: Path, saved: str) -> None:
    """From now on, say it when native code fails; `saved` is a sentence on what is not lost."""
    reporter = _reporter()
    reporter.folder, reporter.saved = folder, saved


@functools.cache
def _reporter() -> CrashReporter:
    reporter = CrashReporter()
    reporter.install()
    return reporter


def _terminal_settings() -> Any:
    """How the terminal is before a prompt changes it; None if there is none."""
    if os.name != "posix":
        return None
    import termios

    try:
        return termios.tcgetattr(0)
    except (termios.error, OSError):
        return None


def _restore(settings: Any) -> None:
    if settings is None or os.name != "posix":
        return
    import termios

    try:
        termios.tcsetattr(0, termios.TCSANOW, settings)
    except (termios.error, OSError):
        return
    if os.isatty(2):
        os.write(2, _PLAIN_TERMINAL.encode())
