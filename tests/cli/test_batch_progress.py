"""What a batch shows while it runs: a live bar on a terminal, plain lines elsewhere."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.command import command, environment, ossctl, small_model, write_jsonl
from tests.support.crashing_engine import crashing_engine

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

import fcntl
import pty
import struct
import termios

SUMMARY = re.compile(
    r"4 of 4 done · \d+ tokens in( \(\d+ cached\))?, \d+ out · \d+\.\d tokens/s"
    r" · latency p50 \d+\.\d s, p99 \d+\.\d s · \d+\.\d s"
)
TIME_LEFT = re.compile(r" (--:--|\d\d:\d\d) left")
SPEED = re.compile(
    r"[1-9]\d*\.\d tokens/s out, [1-9]\d*\.\d in \(\d+% cached\) · slowest [\d.]+ m?s: line-\d+"
)
COLOUR = re.compile(r"\x1b\[[\d;]*[34]\d[\d;]*m")

# What the bar does on a terminal: control sequences, control characters and text.
STEP = re.compile(
    r"\x1b\[(?P<argument>[?\d;]*)(?P<command>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)"
)


@dataclass
class Screen:
    """A terminal of endless width. `frames` are the texts that were erased."""

    lines: list[str] = field(default_factory=lambda: [""])
    frames: list[str] = field(default_factory=list)
    row: int = 0
    column: int = 0

    def draw(self, written: str) -> None:
        for step in STEP.finditer(written):
            match step.groupdict():
                case {"control": "\r"}:
                    self.column = 0
                case {"control": "\n"}:
                    self.row += 1
                    self.lines += [""] * (self.row == len(self.lines))
                case {"command": "A", "argument": argument}:
                    self.row -= int(argument)
                case {"command": "K"}:
                    self.frames.append(self.lines[self.row])
                    self.lines[self.row] = ""
                case {"text": str(text)}:
                    line = self.lines[self.row].ljust(self.column)
                    self.lines[self.row] = line[: self.column] + text + line[self.column + len(text) :]
                    self.column += len(text)


@dataclass(frozen=True)
class Shown:
    """What a run left on a terminal."""

    code: int
    written: str
    lines: list[str]
    frames: list[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short input and a long one."""
    folder = tmp_path_factory.mktemp("progress")
    asked = [{"prompt": f"Tell me about {what}."} for what in ("cats", "dogs", "cows", "bees")]
    write_jsonl(folder / "in.jsonl", *({**request, "max_tokens": 8} for request in asked))
    write_jsonl(folder / "long.jsonl", *({**request, "logit_bias": {"2": -100}} for request in asked * 3))
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> Shown:
    """A batch that ran to its end with stderr on a terminal."""
    return run_on_terminal("batch", "in.jsonl", *small_model(parallel=2), folder=folder)


def test_on_a_terminal_a_live_bar_counts_the_requests(finished: Shown) -> None:
    assert finished.code == 0
    bars = [frame for frame in finished.frames if "━" in frame]
    counts = [int(bar.partition(" of 4 done")[0]) for bar in bars]
    assert counts == sorted(counts)
    assert counts[-1] == 4
    assert all(TIME_LEFT.search(bar) for bar in bars)


def test_a_second_line_shows_speed_cached_share_and_the_slowest_request(folder: Path) -> None:
    arguments = ("batch", "long.jsonl", *small_model())
    shown = run_on_terminal(*arguments, folder=folder, interrupt_at=r"[1-9]\d*\.\d tokens/s out")
    (counts,) = {frame.split("━")[0].strip() for frame in shown.frames if "of 12 done, 4 running" in frame}
    assert counts.startswith("0 of 12 done, 4 running")
    speeds = [frame for frame in shown.frames if "tokens/s out" in frame]
    assert any(SPEED.fullmatch(speed.strip()) for speed in speeds), speeds


@pytest.mark.slow
def test_each_engine_has_a_line_with_what_died_and_why(tmp_path: Path) -> None:
    prompts = [f"What is {n} plus {'VANISH' if n == 20 else 7}?" for n in range(60)]
    write_jsonl(tmp_path / "in.jsonl", *({"prompt": prompt, "max_tokens": 30} for prompt in prompts))
    options = ("-m", "nano", "--threads", 1, "--parallel", 4, "--engines", 2, "--no-cache")
    crashing = crashing_engine(tmp_path / "site")
    shown = run_on_terminal("batch", "in.jsonl", *options, folder=tmp_path, PYTHONPATH=crashing)
    assert shown.code == 3
    died = r"engine [12]: \d+ lines(, [\d.]+ tokens/s)?, died (once|\d times): killed by SIGKILL"
    assert any(re.fullmatch(died, frame.strip()) for frame in shown.frames), shown.frames
    told = [line for line in shown.lines if " died (" in line]
    assert len(told) >= 4
    assert all(
        re.fullmatch(r"engine [12] died \(killed by SIGKILL\); restarting\.", each.strip()) for each in told
    )


def test_at_the_end_the_bar_is_gone_and_the_summary_stays(finished: Shown) -> None:
    (summary,) = [line for line in finished.lines if line]
    assert SUMMARY.fullmatch(summary)


def test_the_cursor_is_visible_again_at_the_end(finished: Shown) -> None:
    assert finished.written.count("\x1b[?25l") == finished.written.count("\x1b[?25h") > 0


def test_after_an_interrupt_the_bar_is_gone_and_the_cursor_visible(folder: Path) -> None:
    arguments = ("batch", "long.jsonl", *small_model())
    shown = run_on_terminal(*arguments, folder=folder, interrupt_at="of 12 done")
    assert shown.code == 130
    assert [line for line in shown.lines if line] == [
        "ossctl: interrupted",
        "Nothing was written.",
    ]
    assert shown.written.count("\x1b[?25l") == shown.written.count("\x1b[?25h") > 0


def test_an_error_at_the_start_leaves_its_message_alone(folder: Path) -> None:
    shown = run_on_terminal("batch", "in.jsonl", "-m", "no.gguf", folder=folder)
    assert shown.code == 4
    assert [line for line in shown.lines if line] == [
        "ossctl: no model file at no.gguf",
        "Check the path.",
    ]


def test_no_color_is_honoured(folder: Path, finished: Shown) -> None:
    plain = run_on_terminal("batch", "in.jsonl", *small_model(parallel=2), folder=folder, NO_COLOR="1")
    assert COLOUR.search(finished.written)
    assert not COLOUR.search(plain.written)


def test_off_a_terminal_there_are_no_escape_codes(folder: Path) -> None:
    result = ossctl("batch", "in.jsonl", *small_model(), cwd=folder, TERM="xterm-256color")
    assert "\x1b" not in result.stdout + result.stderr
    assert "\r" not in result.stdout + result.stderr
    (summary,) = result.said
    assert SUMMARY.fullmatch(summary)


def test_the_bar_and_the_time_left_fit_into_80_columns(folder: Path) -> None:
    shown = run_on_terminal("batch", "in.jsonl", *small_model(parallel=2), folder=folder, columns=80)
    bars = [frame for frame in shown.frames if "of 4 done" in frame]
    assert all(TIME_LEFT.search(bar) and bar.count("━") >= 8 for bar in bars)


def test_with_both_streams_on_one_terminal_each_record_has_its_own_line(folder: Path) -> None:
    arguments = ("batch", "in.jsonl", *small_model(parallel=2))
    shown = run_on_terminal(*arguments, folder=folder, all_streams=True)
    *records, summary = [line for line in shown.lines if line]
    assert SUMMARY.fullmatch(summary)
    assert len(records) == 4
    assert all(record.startswith("{") for record in records)


def run_on_terminal(
    *arguments: object,
    folder: Path,
    columns: int = 120,
    all_streams: bool = False,
    interrupt_at: str = "",
    **variables: str,
) -> Shown:
    """Run `ossctl` with stderr, or stdout as well, on a terminal; SIGINT when a pattern appears there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(folder, TERM="xterm-256color", **variables),
        stdin=subprocess.DEVNULL,
        stdout=theirs if all_streams else subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    try:
        while data := _read(ours):
            written += data
            if interrupt_at and re.search(interrupt_at.encode(), written):
                process.send_signal(signal.SIGINT)
                interrupt_at = ""
        code = process.wait(60)
    finally:
        os.close(ours)
        process.kill()
        process.wait()
    screen = Screen()
    screen.draw(written.decode())
    return Shown(code, written.decode(), screen.lines, screen.frames)


def _read(terminal: int) -> bytes:
    """What comes next; nothing when the last process has closed its side."""
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says so
        return b""
