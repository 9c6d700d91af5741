"""The prompt without a terminal: what ends it, and when its host works."""

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread, get_ident

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from ossctl.errors import Interrupted, UsageError
from ossctl.repl.completion import Candidate
from ossctl.repl.input_prompt import InputPrompt
from ossctl.repl.toolbar import Part

pytestmark = pytest.mark.timeout(20)


class Host:
    """Notes what it is asked, and does what a test wants when the prompt is idle."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.on_idle: Callable[[], None] = lambda: None
        self.toolbars = 0
        self.signal = 0

    def complete(self, text: str) -> Sequence[Candidate]:
        return ()

    def toolbar(self, text: str) -> Sequence[Part]:
        self.toolbars += 1
        return ()

    def idle(self, text: str, cursor: int) -> None:
        if self.seen[-1:] != [(text, cursor)]:
            self.seen.append((text, cursor))
        self.on_idle()

    def cleared(self) -> None:
        pass

    def check(self) -> None:
        if self.signal:
            raise Interrupted(self.signal)


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as keys, create_app_session(keys, DummyOutput()):
        yield keys


def test_a_signal_that_came_just_before_the_prompt_ends_it(tmp_path: Path, keys: PipeInput) -> None:
    host = Host()
    host.signal = signal.SIGTERM
    with pytest.raises(Interrupted):
        InputPrompt(tmp_path / "history", host).ask()


def test_the_host_works_when_the_prompt_appears_and_after_each_change(
    tmp_path: Path, keys: PipeInput
) -> None:
    host = Host()
    to_press = iter(["a", "b", "\x1b[D", "\r"])
    host.on_idle = lambda: keys.send_text(next(to_press, ""))
    assert InputPrompt(tmp_path / "history", host).ask("> ") == "> ab"
    assert host.seen == [("> ", 2), ("> a", 3), ("> ab", 4), ("> ab", 3)]


def test_an_error_of_the_host_ends_the_prompt(tmp_path: Path, keys: PipeInput) -> None:
    host = Host()

    def fail() -> None:
        raise UsageError("no")

    host.on_idle = fail
    with pytest.raises(UsageError):
        InputPrompt(tmp_path / "history", host).ask()


def test_another_thread_wakes_the_host_and_the_toolbar_is_drawn_after_its_work(
    tmp_path: Path, keys: PipeInput
) -> None:
    host = Host()
    prompt = InputPrompt(tmp_path / "history", host)
    calls: list[int] = []

    def idle() -> None:
        calls.append(get_ident())
        if len(calls) == 1:
            Thread(target=prompt.wake).start()
        elif len(calls) == 2:
            host.toolbars = 0
        elif host.toolbars:
            keys.send_text("\r")

    host.on_idle = idle
    assert prompt.ask() == ""
    assert set(calls) == {get_ident()}
