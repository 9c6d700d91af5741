"""Time from the start of the program, or from a request to one that runs, to the first token."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import IO, Any

from ossctl.app.bench.estimate import mean_of
from ossctl.app.bench.results import Wait
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.placement.load_options import LoadOptions
from ossctl.errors import ExitCode, OssctlError
from ossctl.settings import Paths

_PROGRAM = (sys.executable, "-m", "ossctl")
_WORDS = ("the", "river", "house", "garden", "winter", "machine", "letter", "doctor", "paper", "window")
_FINE = (0, ExitCode.CUT)
N_ANSWER = 4  # tokens
_LONG_PROMPT = 2_048  # tokens: with more, the default context of `--serve-stdin` may be too small


@dataclass(frozen=True)
class StartedModel:
    """Starts programs with a model, in a home of their own inside `folder`. A signal kills them."""

    model: Path
    loading: LoadOptions
    folder: Path
    interrupt: Interrupt

    def prepare(self) -> None:
        """Copy what is known of this machine, such as the trial of its kernels."""
        for file in Paths.from_environment().state.glob("*.json"):
            target = self._home / "state" / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)

    def startup(self) -> float:
        """Seconds that `ossctl --version` takes."""
        started = perf_counter()
        with self._started("--version"):
            pass
        return perf_counter() - started

    def answer(self, text: str, question: str, *options: str) -> float:
        """Seconds from the start of `ossctl run` to the first byte of its answer."""
        file = self.folder / "text.txt"
        file.write_text(text, "utf-8")
        started = perf_counter()
        with self._started("run", *self._options, "--raw", "-f", str(file), *options, question) as process:
            os.read(_pipe(process.stdout).fileno(), 1)
            first_byte = perf_counter()
        return first_byte - started

    @contextmanager
    def serving(self, n_prompt: int) -> Iterator[Callable[[str], float]]:
        """A program that keeps the model loaded. Gives the seconds from a prompt to its first token.

        The prompts have about `n_prompt` tokens, at most half of what the model was trained for.
        """
        parallel = () if self.loading.parallel is None else ("--parallel", str(self.loading.parallel))
        is_long = self.loading.ctx is None and n_prompt > _LONG_PROMPT
        options = (*parallel, *(("--ctx", str(2 * n_prompt)) if is_long else ()))
        with self._started("run", *self._options, *options, "--no-cache", "--serve-stdin") as process:
            events, requests = _pipe(process.stdout), _pipe(process.stdin)

            def ask(prompt: str) -> float:
                started = perf_counter()
                with suppress(OSError):  # then there is no event either
                    requests.write(json.dumps({"id": "a", "prompt": prompt}).encode() + b"\n")
                    requests.flush()
                event = _event(events)
                seconds = perf_counter() - started
                while "done" not in event:
                    event = _event(events)
                return seconds

            _event(events)  # it is ready
            yield ask

    @property
    def has_kept_prompts(self) -> bool:
        """Whether there is something in the disk cache."""
        return any((self._home / "cache" / "prefixes").glob("*.prefix"))

    @property
    def _home(self) -> Path:
        return self.folder / "home"

    @property
    def _options(self) -> Sequence[str]:
        given = {each.name: getattr(self.loading, each.name) for each in fields(self.loading)}
        skipped = {"cache_bytes", "template", "parallel"}  # `run` takes no --parallel for one prompt
        named = {name: value for name, value in given.items() if value is not None and name not in skipped}
        placed = [
            part for name, value in named.items() for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        return ["-m", str(self.model), "-n", str(N_ANSWER), "-t", "0", *placed]

    @contextmanager
    def _started(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        process = subprocess.Popen(  # noqa: S603
            [*_PROGRAM, *arguments],
            stdin=subprocess.PIPE if "--serve-stdin" in arguments else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OSSCTL_HOME": str(self._home), "OSSCTL_CONFIG": "off"},
        )
        with self.interrupt.killing(process.kill):
            try:
                yield process
            finally:
                _, errors = process.communicate()
                if process.returncode not in _FINE:
                    raise OssctlError(_reason(process.returncode, errors))


def _reason(code: int, errors: bytes) -> str:
    last = errors.decode("utf-8", "replace").strip().splitlines()[-2:]
    return " ".join(last).removeprefix("ossctl: ") or f"`ossctl` ended with code {code}"


def _event(lines: IO[bytes]) -> dict[str, Any]:
    """The next event of `run --serve-stdin`. Raises OssctlError if the request has failed."""
    line = lines.readline()
    if not line.endswith(b"\n"):
        raise OssctlError("`ossctl run --serve-stdin` has ended")
    event: dict[str, Any] = json.loads(line)
    if "error" in event:
        raise OssctlError(event["error"]["message"])
    return event


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("not a pipe")
    return stream


def words(n_tokens: int, count: Callable[[str], int]) -> str:
    """A text of at most `n_tokens`, by `count`, that no earlier run has seen."""
    chosen = random.choices(_WORDS, k=n_tokens)  # noqa: S311
    while len(chosen) > 1 and (found := count(" ".join(chosen))) > n_tokens:
        del chosen[max(1, len(chosen) * n_tokens // (found + 1)) :]
    return " ".join(chosen)


def measure_waits(program: StartedModel, text: str, n_tokens: int, rounds: int) -> Iterator[Wait]:
    """Startup, and the first token cold, from the disk cache and warm.

    A prompt that takes less than a second is not in the disk cache. Raises OssctlError if a program fails or
    is interrupted.
    """
    keep_going = program.interrupt.keep_going

    def wait(what: str, measure: Callable[[int], float], n_prompt: int = n_tokens) -> Iterator[Wait]:
        seconds = [measure(number) for number in range(rounds) if keep_going()]
        if seconds and keep_going():
            yield Wait(what=what, prompt_tokens=n_prompt, seconds=mean_of(seconds))

    if not rounds:
        return
    program.prepare()
    yield from wait("startup", lambda _: program.startup(), 0)
    yield from wait("cold", lambda n: program.answer(text, f"Question {n}?", "--no-cache"))
    if keep_going():
        program.answer(text, "Question?")
    if program.has_kept_prompts and keep_going():
        yield from wait("disk", lambda n: program.answer(text, f"Question {n}?"))
    if keep_going():
        with program.serving(n_tokens) as ask:
            ask(text)
            yield from wait("warm", lambda n: ask(f"{text}\n\nQuestion {n}?"))
