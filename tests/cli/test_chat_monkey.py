"""A chat under random keys, pastes, signals, resizes and commands: it never ends by itself.

OSSCTL_MONKEY_SEED repeats a run; its seed is printed.
"""

import contextlib
import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

from ossctl.app.chat.attachments import mentioned_files, missing_files
from ossctl.app.chat.paths import kind_of, names_in, user_path
from ossctl.errors import UsageError
from ossctl.repl.commands import all_commands
from ossctl.repl.completion import candidates
from tests.support.terminal import Terminal

KEY_SECONDS = 0.3  # from a key at the prompt until it is on the screen
ANSWER_SECONDS = 30.0

KEYS = [
    *"abc @~/\\`*_#\"'", "\x01", "\x02", "\x05", "\x06", "\x08", "\x0b", "\x0e", "\x10", "\x12hi\r", "\x14",
    "\x15", "\x17", "\x19", "\x1a", "\x1d", "\x1e", "\x1f", "\x00", "\x7f", "\t", "\t\t", "\n", "\r",
    "\\\r", "\x1b\r", "\x1b", "\x1bb", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[H", "\x1b[F",
    "\x1b[3~", "\x1b[Z", "\x1bd", "\x1b[5~", "\x16\x1b", "\x1b[1;5D", "\x1b[M !!", "\x1b[<0;3;3M", "\x1b[I",
    "\x1b]0;x\x07", "é", "漢", "\U0001f469\u200d\U0001f467",
]  # fmt: skip
LINES = [
    "Hello there.", "What is 2 plus 2?", "/etc/passwd is what?", "//", "/* a */", "/hlep", "/no_think",
    "@~no/x", "see @notes.txt", 'see @"', "@" + "x" * 300, "/", " /help", "~~~", "```\ncode", "\\(x\\)",
]  # fmt: skip
COMMANDS = [
    "/help", "/help /x", "/effort", "/effort high", "/effort x", "/system", "/system Be brief.",
    "/system off", "/system @~no/x", "/model", "/model nope", "/model ~nobody/x.gguf",
    "/model " + "x" * 300, "/model nano", "/reasoning show", "/reasoning fold", "/set",
    "/set temperature 0", "/set temperature x", "/tools", "/set seed 9999999999999999999999",
    "/set max_tokens 8", "/file notes.txt", "/file ~nobody/x", "/image", "/file " + "y/" * 400, "/undo",
    "/retry", "/retry high", "/edit", "/edit 1", "/edit 99999999999999999999", "/copy", "/save",
    "/save ~nobody/x", "/save chat.md", "/save " + "z" * 300, "/sessions", "/sessions hello", '/sessions "',
    "/resume", "/resume x", "/fork", "/clear", "/context", "/stats", "/plan", "/compact",
]  # fmt: skip


class Monkey:
    """Does one thing after another to a chat, and remembers them."""

    def __init__(self, terminal: Terminal, seed: int) -> None:
        self.terminal = terminal
        self.random = random.Random(seed)
        self.done: list[bytes] = []
        self.slowest = 0.0
        self.interrupted = False  # and has not been seen to read keys since

    def act(self) -> None:
        actions = (
            self.keys, self.keys, self.keys, self.line, self.paste, self.command, self.resize, self.interrupt,
            self.suspend, self.wait,
        )  # fmt: skip
        self.random.choice(actions)()
        self.terminal.read(self.random.choice((0.0, 0.0, 0.02)))
        assert self.terminal.process.isalive(), self.story()

    def keys(self) -> None:
        for _ in range(self.random.randint(1, 8)):
            self.send(self.random.choice(KEYS).encode())

    def line(self) -> None:
        self.send(f"{self.random.choice(LINES)}\r".encode())

    def command(self) -> None:
        self.send(f"\x15{self.random.choice(COMMANDS)}\r".encode())

    def paste(self) -> None:
        data = self.random.choice(
            (
                self.random.randbytes(40).translate(None, delete=b"\x1b\x03\x04"),
                "\n".join(self.random.choices(LINES, k=5)).encode(),
                self.random.choice(COMMANDS).encode(),
                b"caf\xe9 \x00\x01\x1b[31m\x9b2J",
                b"word " * 400,
            )
        )
        self.send(b"\x1b[200~%b\x1b[201~" % data)

    def resize(self) -> None:
        self.note(b"resize")
        self.terminal.resize(self.random.randint(4, 150), self.random.randint(2, 50))

    def interrupt(self) -> None:
        """Press Ctrl-C, but never twice in a row, which leaves."""
        if self.interrupted:
            self.await_keys()
            self.random.choice((self.line, self.command, self.wait))()
        self.send(b"\x03x")
        self.interrupted = True

    def suspend(self) -> None:
        self.note(b"SIGTSTP")
        self.terminal.process.kill(signal.SIGTSTP)

    def wait(self) -> None:
        self.note(b"wait")
        self.terminal.read(0.1)

    def send(self, data: bytes) -> None:
        self.note(data)
        self.terminal.process.send(data)

    def note(self, what: bytes) -> None:
        self.done.append(what[:60])

    def story(self) -> str:
        process, raw = self.terminal.process, self.terminal.raw[-3000:].decode("utf-8", "replace")
        ended = "" if process.isalive() else f"ended with {process.exitstatus or process.signalstatus}, "
        return f"{ended}after {self.done[-30:]}:\n{raw}"

    def to_prompt(self) -> None:
        """Wait until the chat asks for a message, and clear it."""
        deadline = time.monotonic() + ANSWER_SECONDS
        ready = False
        while not ready:
            assert time.monotonic() < deadline, self.story()
            self.await_keys()
            self.send(b"\x1b\x03x")  # ends a question, a search, a menu; another question may follow
            self.await_keys()
            self.send(b"\x15\x0b")
            self.terminal.settle(0.1)
            ready = self.shows_keys(alone=True)
        self.send(b"\x15")
        self.terminal.settle(0.1)

    def await_keys(self) -> None:
        """Wait until the chat reads keys, so that it has read all earlier ones."""
        self.terminal.resize(100, 30)
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self.shows_keys():
            assert time.monotonic() < deadline, self.story()
            self.send(b"\x15drop\r")  # answers a question about the context
        self.interrupted = False

    def shows_keys(self, *, alone: bool = False) -> bool:
        """Type a mark; whether the prompt shows it, or with `alone` nothing else."""
        mark = f"q{self.random.randrange(1000)}z"
        self.send(mark.encode())
        end = time.monotonic() + (1 if alone else 5)  # 5: also after a paste that has lost its end
        while time.monotonic() < end:
            self.terminal.read(0.02)
            written = self.prompt()
            if f"> {mark}" in written or (not alone and any(mark in line for line in written)):
                return True
        return False

    def prompt(self) -> list[str]:
        """The lines of the prompt, if there is one. It alone takes bracketed pastes."""
        raw, lines = self.terminal.raw, self.terminal.lines
        if raw.rfind(b"\x1b[?2004h") <= raw.rfind(b"\x1b[?2004l"):
            return []
        first = max((at for at, line in enumerate(lines) if line.startswith(">")), default=0)
        return lines[first:]

    def measure(self) -> None:
        """The time until a key at the prompt is on the screen."""
        self.terminal.settle(0.1)
        before = len(self.terminal.raw)
        began = time.monotonic()
        self.send(b"k")
        while b"k" not in self.terminal.raw[before:] and time.monotonic() - began < 10:
            self.terminal.read(0.01)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.send(b"\x7f")


def play(folder: Path, actions: int, *, measured: bool) -> None:
    seed = int(os.environ.get("OSSCTL_MONKEY_SEED") or random.SystemRandom().randrange(10**6))
    print(f"OSSCTL_MONKEY_SEED={seed}")
    (folder / "notes.txt").write_text("Notes.", "utf-8")
    options = ("-m", "nano", "--threads", 1, "-n", 40, "--ctx", 2048)
    with Terminal("chat", *options, cwd=folder, columns=100, rows=30) as terminal:
        terminal.wait("(?m)^> *$")
        monkey = Monkey(terminal, seed)
        for number in range(actions):
            monkey.act()
            if measured and number % 100 == 99:
                monkey.to_prompt()
                monkey.measure()
        monkey.to_prompt()
        terminal.press("\x04")
        assert terminal.end() == 0, monkey.story()
        print(f"slowest key: {monkey.slowest:.3f} s")
        assert monkey.slowest <= KEY_SECONDS
    crashes = [path.read_text("utf-8") for path in folder.glob("home/state/crash*")]
    assert not crashes, crashes
    with sqlite3.connect(folder / "home" / "data" / "ossctl.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_chat_outlives_a_monkey(tmp_path: Path) -> None:
    play(tmp_path, 30, measured=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_chat_outlives_a_patient_monkey_and_its_keys_stay_quick(tmp_path: Path) -> None:
    play(tmp_path, 2_000, measured=True)


STARTS = [b"", b"/", b"/help ", b"/model ", b"@", b'see @"', b"@~", b"/file ~", b"/system @", b"/save ", b"~"]


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_no_bytes_are_too_strange_to_be_read(count: int) -> None:
    seed = int(os.environ.get("OSSCTL_MONKEY_SEED") or random.SystemRandom().randrange(10**6))
    print(f"OSSCTL_MONKEY_SEED={seed}")
    rng, commands = random.Random(seed), all_commands()
    for _ in range(count):
        data = rng.choice(STARTS) + rng.randbytes(rng.randint(0, 60))
        for text in (
            data.decode("utf-8", "replace"),
            data.decode("utf-8", "surrogateescape"),
            data.decode("latin-1"),
        ):
            with contextlib.suppress(UsageError):
                commands.parse(text)
            mentioned_files(text)
            missing_files(text)
            candidates(text, commands, lambda _: ())
            assert kind_of(user_path(text)) in ("file", "folder", "other", "missing")
            list(names_in(user_path(text)))
