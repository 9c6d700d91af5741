"""Questions on a terminal."""

import ctypes
import io
import os
import signal
import sys
from collections.abc import Iterator
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

import pty
import termios

from ossctl.app.inference.interrupt import Interrupt
from ossctl.repl.terminal import Signals, ask, hidden_typing, suits_rich_view


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of the terminal that is standard input."""
    near, far = pty.openpty()
    with os.fdopen(far, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield near
    os.close(near)


class Console(io.StringIO):
    """A Windows console: its mode, and the calls that read and set it."""

    def __init__(self, *, is_old: bool) -> None:
        super().__init__()
        self.console_mode, self._is_old = 0x3, is_old

    def isatty(self) -> bool:
        return True

    def kernel32(self, _name: str) -> Any:
        def handle(_number: int) -> int:
            return 7

        return SimpleNamespace(
            GetStdHandle=handle, GetConsoleMode=self.read_mode, SetConsoleMode=self.set_mode
        )

    def read_mode(self, _console: object, mode: Any) -> int:
        mode._obj.value = self.console_mode
        return 1

    def set_mode(self, _console: object, mode: int) -> int:
        self.console_mode = self.console_mode if self._is_old else mode
        return int(not self._is_old)


@pytest.mark.parametrize(("is_old", "mode"), [(False, 0x7), (True, 0x3)])
def test_a_windows_console_is_made_to_obey_escape_sequences(
    is_old: bool, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(is_old=is_old)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", console)
    monkeypatch.setattr(ctypes, "CDLL", console.kernel32)
    with monkeypatch.context() as windows:
        windows.setattr(sys, "platform", "win32")
        suits = suits_rich_view()
    assert (suits, console.console_mode) == (not is_old, mode)


def after_the_question(act: object, *arguments: object) -> Timer:
    timer = Timer(0.1, act, arguments)  # type: ignore[arg-type]
    timer.start()
    return timer


def test_a_question_is_answered_with_a_line_typed_after_it(keyboard: int) -> None:
    os.write(keyboard, b"yes\n")  # before it
    shown: list[str] = []
    after_the_question(os.write, keyboard, b"no\n")
    assert ask("Well? ", shown.append) == "no"
    assert shown == ["Well? "]


@pytest.mark.usefixtures("keyboard")
def test_the_first_ctrl_c_ends_a_question_and_stops_the_answer() -> None:
    stops: list[bool] = []
    signals = Signals(lambda: None)
    with signals, signals.interrupts(lambda: stops.append(True)):
        after_the_question(os.kill, os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            ask("Well? ", lambda _: None)
        assert stops == [True]


@pytest.mark.usefixtures("keyboard")
def test_the_first_ctrl_c_ends_a_question_and_is_noted() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        after_the_question(os.kill, os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            ask("Well? ", lambda _: None)
        assert not interrupt.keep_going()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_between_an_answer_and_the_prompt_is_only_noted() -> None:
    signals = Signals(lambda: None)
    with signals:
        with signals.uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.came_early
        with signals.uninterrupted():
            assert not signals.came_early
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_during_an_answer_no_typed_or_pasted_byte_quits_or_stops_the_output(keyboard: int) -> None:
    typed = b"a\x1cb\x13c\x16d\x0fe"  # Ctrl-\\, Ctrl-S, Ctrl-V and Ctrl-O
    before = termios.tcgetattr(sys.stdin)
    with hidden_typing():
        os.write(keyboard, typed)
        assert os.read(sys.stdin.fileno(), 100) == typed
        os.write(sys.stdin.fileno(), b"shown")
        assert os.read(keyboard, 100) == b"shown"
    assert termios.tcgetattr(sys.stdin) == before


@pytest.mark.usefixtures("keyboard")
def test_ctrl_backslash_is_switched_off_as_the_system_spells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fpathconf", lambda _fd, name: {"PC_VDISABLE": 0xFF}[name])  # as macOS
    with hidden_typing():
        assert termios.tcgetattr(sys.stdin)[6][termios.VQUIT] == b"\xff"
