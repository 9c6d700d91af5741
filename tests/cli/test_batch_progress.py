"""What a batch shows while it runs: a live bar on a terminal, plain lines elsewhere."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import command, environment, ossctl, records_in, small_model, write_jsonl

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

import fcntl
import pty
import struct
import termios

ESCAPE = "\x1b"
SUMMARY = re.compile(r"4 of 4 done · [\d,]+ tokens in( \([\d,]+ cached\))?, [\d,]+ out · [\d.,]+ tokens/s · [\d.]+ s")
REQUESTS = [{"prompt": f"Tell me about {what}.", "max_tokens": 8} for what in ("cats", "dogs", "cows", "bees")]

# One step of what the bar does on a terminal: a control sequence, a control character, or text.
_STEP = re.compile(r"\x1b\[(?P<arguments>[?\d;]*)(?P<kind>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)")


@dataclass
class Terminal:
    """What a run wrote to a terminal. `frames` are the states of the cursor's line before each erasing."""

    code: int
    written: str
    screen: list[str]
    frames: list[str]


def run_on_terminal(folder: Path, *arguments: object, columns: int = 120, all_streams: bool = False) -> Terminal:
    """Run `ossctl` with stderr, or with stdout as well, on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(folder, TERM="xterm-256color"),
        stdin=subprocess.DEVNULL,
        stdout=theirs if all_streams else subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        written = _read_all(ours)
        return Terminal(process.wait(60), written, *_draw(written))
    finally:
        os.close(ours)
        process.kill()
        process.wait()
