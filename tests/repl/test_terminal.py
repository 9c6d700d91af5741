"""Questions on a terminal."""

import os
import signal
import sys
from collections.abc import Iterator
from threading import Timer

import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

import pty
import termios

from ossctl.app.inference.interrupt import Interrupt
from ossctl.repl.terminal import Signals, ask, hidden_typing


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of the terminal that is standard input."""
    near, far = pty.openpty()
    with os.fdopen(far, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield near
    os.close(near)


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
