"""`make bench-warm`: the first token where a prompt was computed before, by another process or by this one.

    python -m benchmarks.warm [--model GGUF] [--tokens 3000] [--rounds 5] [--once]

All sides take turns. Times are from the start of the program, or from the message in a chat that was never
closed, to the first byte of the answer. --once, for models that need minutes, measures chats alone and
computes the prompt only twice, however many rounds there are.
"""

import argparse
import os
import random
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.models import smollm2

_OSSCTL = [sys.executable, "-m", "ossctl"]
_WORDS = ("the", "river", "house", "garden", "winter", "machine", "letter", "doctor", "paper", "window")
_TOKENS_PER_WORD = 1.1  # of SmolLM2
_EXIT_CODES = (0, 6)  # 6: cut off at -n, as is wanted here


class Side:
    """One way to ask: its own folder of sessions and cached prefixes."""

    def __init__(self, folder: Path, model: Path, text: str) -> None:
        self._model = model
        self._home = folder / "home"
        self._text = text
        self._file = folder / "text.txt"
        self._file.write_text(text, "utf-8")
        self._errors = folder / "errors.txt"

    def start(self, command: str, *options: str) -> "subprocess.Popen[bytes]":
        with self._errors.open("wb") as errors:
            return subprocess.Popen(
                [*_OSSCTL, command, "-m", str(self._model), "-n", "4", "--ctx", "4096", "-t", "0", *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "OSSCTL_HOME": str(self._home)},
            )

    def first_byte(
        self, process: "subprocess.Popen[bytes]", message: str = "", started: float = 0.0
    ) -> float:
        """Seconds from the start, or now, to the first byte of the next answer."""
        started = started or time.perf_counter()
        assert process.stdout is not None
        if message and process.stdin is not None:
            process.stdin.write(f"{message}\n".encode())
            process.stdin.flush()
        if not os.read(process.stdout.fileno(), 1):
            self.finish(process)
            sys.exit(f"{process.args!r} gave no answer")
        return time.perf_counter() - started

    def finish(self, process: "subprocess.Popen[bytes]", message: str = "") -> None:
        """Send a last message and wait for the end. Ends the benchmark if the process failed."""
        process.communicate(f"{message}\n".encode() if message else None)
        if process.returncode not in _EXIT_CODES:
            errors = self._errors.read_text("utf-8", "replace")
            sys.exit(f"{process.args!r} ended with {process.returncode}:\n{errors}")

    def run(self, *options: str) -> float:
        """Another question about the file, in a process of its own."""
        started = time.perf_counter()
        process = self.start("run", "-f", str(self._file), *options, f"Question {random.random()}?")
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        seconds = self.first_byte(process, started=started)
        self.finish(process)
        return seconds

    def open_chat(self) -> Callable[[], float]:
        """A chat about the text that stays open; returns how long its next answer takes."""
        process = self.start("chat", "--no-cache")
        self.first_byte(process, self._text)
        self.wait_for_end_of_answer(process)

        def ask() -> float:
            seconds = self.first_byte(process, "And now?")
            self.finish(process)
            return seconds

        return ask

    def closed_chat(self, *options: str) -> Callable[[], float]:
        """A chat about the text that is closed; returns how long it takes to resume and answer."""
        self.finish(self.start("chat", *options), self._text)

        def ask() -> float:
            started = time.perf_counter()
            process = self.start("chat", "-c", *options)
            seconds = self.first_byte(process, "And now?", started)
            self.finish(process)
            return seconds

        return ask

    def resumed_once(self, rounds: int) -> dict[str, list[float]]:
        """The times of a chat about the text that is resumed, and of one that stays open after that."""
        resume = self.closed_chat()
        warm = [resume() for _ in range(rounds)]
        process = self.start("chat", "-c")
        self.first_byte(process, "And now?")
        kept = []
        for _ in range(rounds):
            self.wait_for_end_of_answer(process)
            kept.append(self.first_byte(process, "And now?"))
        self.finish(process)
        started = time.perf_counter()
        process = self.start("chat", "-c", "--no-cache")
        computed = self.first_byte(process, "And now?", started)
        self.finish(process)
        return {
            "chat, never closed": kept,
            "chat -c, computed": [computed],
            "chat -c, from disk": warm,
        }

    def wait_for_end_of_answer(self, process: "subprocess.Popen[bytes]") -> None:
        """Read until nothing has come for a second."""
        assert process.stdout is not None
        while select.select([process.stdout], [], [], 1.0)[0]:
            if not os.read(process.stdout.fileno(), 4096):
                return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=smollm2())
    parser.add_argument("--tokens", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as found:
        for number in range(1 if options.once else options.rounds):
            words = random.Random(number).choices(_WORDS, k=int(options.tokens / _TOKENS_PER_WORD))
            folder = Path(found) / str(number)
            folder.mkdir()
            side = Side(folder, options.model, " ".join(words))
            if options.once:
                times = side.resumed_once(options.rounds)
                break
            measured = {
                "run -f, computed": side.run("--no-cache"),
                "run -f, first": side.run(),
                "run -f, another question": side.run(),
                "chat, never closed": side.open_chat()(),
                "chat -c, computed": side.closed_chat("--no-cache")(),
                "chat -c, from disk": side.closed_chat()(),
            }
            for name, seconds in measured.items():
                times.setdefault(name, []).append(seconds)
    medians = {name: statistics.median(of) for name, of in times.items()}
    for name, median in medians.items():
        print(f"{name:26} {median:8.3f} s   ({min(times[name]):.3f} to {max(times[name]):.3f})")
    if not options.once:
        computed, first, again = list(medians.values())[:3]
        print(f"run -f: {computed / again:.1f} times as fast from disk; empty cache {first / computed:.3f}")
    kept, resumed, warm = list(medians.values())[-3:]
    print(f"chat -c: {resumed / warm:.1f} times as fast from disk; {warm / kept:.2f} of a chat never closed")


if __name__ == "__main__":
    main()
