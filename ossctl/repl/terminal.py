"""The terminal during an answer: typed text waits for the prompt, and signals stop the answer."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from ossctl.errors import Interrupted

if sys.platform != "win32":
    import termios

_STDOUT_HANDLE, _TERMINAL_PROCESSING = -11, 0x4  # STD_OUTPUT_HANDLE, ENABLE_VIRTUAL_TERMINAL_PROCESSING
_SHOW_CURSOR = b"\x1b[?25h"


def suits_rich_view() -> bool:
    """Whether stdout is a terminal with colour and cursor movement, and the user has not turned these off."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return False
    if sys.platform == "win32":
        return _obeys_escapes()
    return os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def _obeys_escapes() -> bool:
    """Make Windows' console obey escape sequences, which it prints by default. False if it cannot."""
    import ctypes

    kernel32 = ctypes.CDLL("kernel32")
    kernel32.GetStdHandle.restype = ctypes.c_void_p
    console, mode = ctypes.c_void_p(kernel32.GetStdHandle(_STDOUT_HANDLE)), ctypes.c_uint32()
    if not kernel32.GetConsoleMode(console, ctypes.byref(mode)):
        return False
    return bool(kernel32.SetConsoleMode(console, mode.value | _TERMINAL_PROCESSING))


@contextmanager
def hidden_typing() -> Iterator[None]:
    """Turn off echo. What is typed or pasted can be read later; only Ctrl-C and Ctrl-Z are signals.

    Ctrl-\\ would end the chat, and Ctrl-S stop its output.
    """
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
    else:
        modes = termios.tcgetattr(sys.stdin)
        modes[0] &= ~termios.IXON
        modes[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
        modes[6][termios.VQUIT] = bytes([os.fpathconf(sys.stdin.fileno(), "PC_VDISABLE")])  # no key
        with _modes_set(modes):
            yield


@contextmanager
def _visible_typing() -> Iterator[None]:
    if sys.platform == "win32":
        yield
    else:
        modes = termios.tcgetattr(sys.stdin)
        modes[3] |= termios.ECHO | termios.ICANON
        with _modes_set(modes):
            termios.tcflush(sys.stdin, termios.TCIFLUSH)
            yield


@contextmanager
def _modes_set(modes: Any) -> Iterator[None]:
    before = termios.tcgetattr(sys.stdin)
    _set_terminal(modes)
    try:
        yield
    finally:
        _set_terminal(before)


def ask(question: str, write: Callable[[str], None] | None = None) -> str:
    """Read a line from the terminal, "" at its end. Ignores what was typed before the question.

    The question goes to `write`, or stdout. Ctrl-C does what it does without a question, and raises
    KeyboardInterrupt in any case.
    """
    with _visible_typing(), _interruptible():
        (write or _write)(question)
        return sys.stdin.readline().strip()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C, after the present handler of SIGINT has run."""
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(signum: int, frame: FrameType | None) -> None:
        if callable(before):
            before(signum, frame)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is on_interrupt:  # the handler may have set another one
            signal.signal(signal.SIGINT, before)


class PressedTwice(KeyboardInterrupt):
    """Ctrl-C was pressed again while an answer was being stopped."""


class Signals:
    """Handles signals while it is entered: SIGTERM and SIGHUP end the chat, SIGINT what it is doing.

    `on_end` is called in the handler of a signal that ends the chat; from then on `check` raises Interrupted.
    """

    def __init__(self, on_end: Callable[[], None], at_prompt: Callable[[], bool] | None = None) -> None:
        self._on_end = on_end
        self._at_prompt = at_prompt
        self._usual_modes: Any = None  # of the terminal, before the chat
        self._pause: Callable[[], None] = lambda: None
        self._busy = self._suspend_later = False
        self._previous: dict[int, Any] = {}
        self._signum = 0
        self.came_early = False

    def check(self) -> None:
        """Raise Interrupted if a signal has ended the chat."""
        if self._signum:
            raise Interrupted(self._signum)

    def interrupt(self) -> None:
        """End the chat, as Ctrl-C does without a prompt."""
        self._signum = signal.SIGINT
        self._on_end()

    def suspend(self, *, group: bool = True) -> None:
        """Stop this process, or its process group, as Ctrl-Z does; return when it is continued.

        Does nothing without a shell that could continue it.
        """
        if sys.platform == "win32" or not _has_shell():
            return
        modes = _modes()
        os.write(1, _SHOW_CURSOR)
        _set_terminal(self._usual_modes)
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(0 if group else os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        _set_terminal(modes)

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Only note Ctrl-C, in `came_early`: too late for the answer, or too early for the prompt."""

        def on_interrupt(_signum: int, _frame: FrameType | None) -> None:
            self.came_early = True

        self.came_early = False
        before = signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def suspends(self, pause: Callable[[], None]) -> Iterator[None]:
        """Call `pause` before the process is suspended, to leave the terminal as a shell needs it."""
        self._pause = pause
        try:
            yield
        finally:
            self._pause = lambda: None

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Suspend the process at the end of the block instead of within it."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
            if self._suspend_later:
                self._suspend_at_once()

    def _on_suspend(self, _signum: int, _frame: FrameType | None) -> None:
        if self._at_prompt is not None and self._at_prompt():
            return
        if self._busy:
            self._suspend_later = True
        else:
            self._suspend_at_once()

    def _suspend_at_once(self) -> None:
        self._suspend_later = False
        self._pause()
        self.suspend(group=False)

    @contextmanager
    def interrupts(self, stop: Callable[[], None]) -> Iterator[None]:
        """The first Ctrl-C calls `stop`, the second raises PressedTwice."""
        pressed = 0

        def on_interrupt(_signum: int, _frame: FrameType | None) -> None:
            nonlocal pressed
            pressed += 1
            if pressed > 1:
                raise PressedTwice
            stop()

        before = signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def __enter__(self) -> Self:
        self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in ("SIGTERM", "SIGHUP"):
            signum = getattr(signal, name, None)
            if signum is not None and signal.getsignal(signum) is not signal.SIG_IGN:  # under nohup
                self._previous[signum] = signal.signal(signum, self._end)
        if self._at_prompt is not None and sys.platform != "win32":
            self._usual_modes = _modes()
            if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
                self._previous[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._on_suspend)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _end(self, signum: int, _frame: FrameType | None) -> None:
        self._signum = signum
        if sys.platform != "win32" and signum == signal.SIGHUP:
            silence(1, 2)  # the terminal is gone
        self._on_end()


def _has_shell() -> bool:
    """Whether the parent is in the same terminal session. If not, the kernel ignores SIGTSTP as well."""
    parent = os.getppid()
    try:
        return parent > 0 and os.getsid(parent) == os.getsid(0)
    except OSError:
        return False


def silence(*streams: int) -> None:
    """Discard what is written to these file descriptors, instead of failing."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(nowhere, stream)


def _modes() -> Any:
    try:
        return termios.tcgetattr(sys.stdin)
    except (termios.error, OSError):  # the terminal may be gone
        return None


def _set_terminal(modes: Any) -> None:
    if modes is None:
        return
    with contextlib.suppress(termios.error, OSError):  # the terminal may be gone
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, modes)
