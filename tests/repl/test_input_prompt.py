"""The prompt without a terminal: what ends it, and when its host works."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread, get_ident
from time import sleep

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from ossctl.errors import Interrupted, UsageError
from ossctl.repl import input_prompt
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
        self.suspended = False

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

    def suspend(self) -> None:
        self.suspended = True

    def check(self) -> None:
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal:
            raise Interrupted(self.signal)


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as keys, create_app_session(keys, DummyOutput()):
        yield keys


@pytest.mark.parametrize(
    ("signum", "error"), [(signal.SIGTERM, Interrupted), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_that_came_just_before_the_prompt_ends_it(
    tmp_path: Path, keys: PipeInput, signum: int, error: type[BaseException]
) -> None:
    host = Host()
    host.signal = signum
    with pytest.raises(error):
        InputPrompt(tmp_path / "history", host).ask()


def test_the_host_works_when_the_prompt_appears_and_after_each_change(
    tmp_path: Path, keys: PipeInput
) -> None:
    host = Host()
    to_press = iter(["a", "b", "\x1b[D", "\r"])
    host.on_idle = lambda: keys.send_text(next(to_press, ""))
    assert InputPrompt(tmp_path / "history", host).ask("> ") == "> ab"
    assert host.seen == [("> ", 2), ("> a", 3), ("> ab", 4), ("> ab", 3)]


@pytest.mark.parametrize("callback", ["complete", "toolbar", "idle", "cleared", "suspend"])
@pytest.mark.parametrize(
    "error", [UsageError("no"), RuntimeError("no"), UnicodeEncodeError("utf-8", "", 0, 1, "no")]
)
def test_no_error_of_the_host_ends_the_prompt(
    tmp_path: Path, keys: PipeInput, monkeypatch: pytest.MonkeyPatch, callback: str, error: Exception
) -> None:
    host = Host()
    calls: list[object] = []

    def fail(*arguments: object) -> None:
        calls.append(arguments)
        raise error

    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    monkeypatch.setattr(host, callback, fail)
    prompt = InputPrompt(tmp_path / "history", host)
    Thread(target=lambda: press(keys, "ab", "\x03", "\x1a", "cd", "\r")).start()
    assert prompt.ask() == "cd"
    assert calls
    assert bool(list(tmp_path.glob("state/crash-*.txt"))) != isinstance(error, UsageError)


def press(keys: PipeInput, *each: str) -> None:
    for text in each:
        sleep(0.05)
        keys.send_text(text)


def typed(tmp_path: Path, keys: PipeInput, data: bytes) -> InputPrompt:
    prompt = InputPrompt(tmp_path / "history", Host())
    keys.send_bytes(data)
    prompt.ask()
    return prompt


@pytest.mark.parametrize("around", [b"%b\r", b"\x1b[200~%b\x1b[201~\r"])
@pytest.mark.parametrize("data", [b"caf\xe9", b"\xc3", b"\xed\xa0\x80", b"\xff\xfe", b"a\x80b"])
def test_bytes_that_are_not_utf_8_are_replaced(
    tmp_path: Path, keys: PipeInput, around: bytes, data: bytes
) -> None:
    text = typed(tmp_path, keys, around % data).text
    assert "\ufffd" in text
    assert text.encode().decode() == text
    assert text in (tmp_path / "history").read_text("utf-8")


def test_what_an_editor_writes_that_is_not_utf_8_is_replaced(
    tmp_path: Path, keys: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nprintf 'caf\\351' > $1\n", "utf-8")
    editor.chmod(0o700)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    keys.send_text("\x18\x05")
    assert InputPrompt(tmp_path / "history", Host()).ask() == "caf\ufffd"


@pytest.mark.parametrize(
    ("data", "pasted"),
    [
        (b"\x1b[200~/clear\x1b[201~\r", True),
        (b"\x1b[200~/save x\x1b[201~ y\r", True),
        (b"/clear\r", False),
        (b"/save \x1b[200~notes.md\x1b[201~\r", False),
        (b"\x1b[200~/clear\x1b[201~\x03/clear\r", False),
    ],
)
def test_a_message_knows_whether_its_start_was_pasted(
    tmp_path: Path, keys: PipeInput, data: bytes, pasted: bool
) -> None:
    assert typed(tmp_path, keys, data).pasted == pasted


@pytest.mark.parametrize("end", ["\r", "\x03"])
def test_a_search_in_the_history_ends_with_enter_and_ctrl_c(
    tmp_path: Path, keys: PipeInput, end: str
) -> None:
    typed(tmp_path, keys, b"hello\r")
    keys.send_text(f"new\x12hel{end}")
    prompt = InputPrompt(tmp_path / "history", Host())
    Thread(target=lambda: press(keys, *" !\r")).start()
    assert prompt.ask() == (" !hello" if end == "\r" else "new !")


@pytest.mark.parametrize(("press", "text"), [("x", "abx"), ("\x7f", "a"), ("\x1b[200~xy\x1b[201~", "abxy")])
def test_what_is_typed_with_a_selection_is_written(
    tmp_path: Path, keys: PipeInput, press: str, text: str
) -> None:
    assert typed(tmp_path, keys, f"ab\x00{press}\r".encode()).text == text


@pytest.mark.parametrize(
    ("draft", "press", "edited"), [("", "", False), ("ab", "", False), ("", "x\x7f", True)]
)
def test_the_prompt_knows_whether_anything_was_typed(
    tmp_path: Path, keys: PipeInput, draft: str, press: str, edited: bool
) -> None:
    prompt = typed(tmp_path, keys, b"before\r")
    keys.send_text(f"{press}\r")
    prompt.ask(draft)
    assert prompt.edited == edited


def test_a_paste_whose_end_is_lost_does_not_swallow_the_keys(
    tmp_path: Path, keys: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_prompt, "_PASTE_SECONDS", 0.1)
    host = Host()
    host.on_idle = lambda: keys.send_text("\r") if host.seen[-1][0] == "pasted" else None
    keys.send_text("\x1b[200~pasted")
    assert InputPrompt(tmp_path / "history", host).ask() == "pasted"


def test_ctrl_c_just_after_enter_is_no_error(tmp_path: Path, keys: PipeInput) -> None:
    host = Host()
    prompt = InputPrompt(tmp_path / "history", host)
    app = prompt._session.app

    def enter_and_interrupt() -> None:
        app.exit(result="sent")
        app.key_processor.send_sigint()

    host.on_idle = enter_and_interrupt
    assert prompt.ask() == "sent"
    assert not prompt._guard.problem


def test_what_is_typed_is_kept_when_the_prompt_is_left(tmp_path: Path, keys: PipeInput) -> None:
    host = Host()
    prompt = InputPrompt(tmp_path / "history", host)
    host.on_idle = lambda: prompt.leave(UsageError("no")) if host.seen[-1][0] == "typed" else None
    keys.send_text("typed")
    with pytest.raises(UsageError):
        prompt.ask()
    assert prompt.text == "typed"
    assert "+typed" in (tmp_path / "history").read_text("utf-8")


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


def test_a_suspension_that_the_end_of_the_last_prompt_cut_off_blocks_no_later_prompt(
    tmp_path: Path, keys: PipeInput
) -> None:
    host = Host()
    prompt = InputPrompt(tmp_path / "history", host)

    async def cut_off() -> None:
        prompt._session.app._running_in_terminal_f = asyncio.get_running_loop().create_future()

    asyncio.run(cut_off())  # as prompt_toolkit leaves it if its task is cancelled
    steps: Iterator[Callable[[], object]] = iter([prompt.suspend, lambda: keys.send_text("hi\r")])

    def next_step() -> None:
        next(steps, lambda: None)()

    host.on_idle = next_step
    assert prompt.ask() == "hi"
    assert host.suspended
