"""Running `ossctl` as its users do: in a process of its own, without this machine's settings."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.support.fork_server import Program, Streams, can_fork, fork_server
from tests.support.models import smollm2
from tests.support.programs import share_trial

Record = dict[str, Any]
Process = subprocess.Popen[bytes] | Program

_SECONDS = 120.0  # nothing here takes that long, unless it hangs

# What is told every ten seconds, so only on a slow machine.
_PROGRESS = re.compile(r"(?:\S+: )?([\d,]+) of ([\d,]+) (?:done\b|.* left$)")

# What a user's shell may hold and would change what is shown.
_SETTINGS = ("OSSCTL_", "COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "TTY_")


@dataclass(frozen=True)
class Result:
    """What is left of a run. A signal that ended the process makes a negative `code`."""

    code: int
    stdout: str
    stderr: str

    @property
    def records(self) -> list[Record]:
        """The lines of stdout, which all have to be JSON objects."""
        return records_in(self.stdout)

    @property
    def said(self) -> list[str]:
        """The lines of stderr that are neither blank nor progress."""
        return list(without_progress(line for line in self.stderr.splitlines() if line.strip()))


def without_progress(lines: Iterable[str]) -> Iterator[str]:
    """The lines but for those that count on the way to the next one, or to what is left."""
    for line, following in pairwise((*lines, "")):
        if not (_PROGRESS.match(line) and (line.endswith(" left") or _counts_on(line, following))):
            yield line


def _counts_on(line: str, following: str) -> bool:
    here, there = _PROGRESS.match(line), _PROGRESS.match(following)
    if here is None or there is None or here[2] != there[2]:
        return False
    done, then, total = (int(text.replace(",", "")) for text in (here[1], there[1], here[2]))
    return done <= then and done < total


class Live:
    """`ossctl` at work: fed through stdin and read from stdout, a line at a time."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._said = ""

    def send(self, *requests: Record) -> None:
        self.write(b"".join(line_of(request) for request in requests))

    def write(self, data: bytes) -> None:
        pipe = _piped(self.process.stdin)
        left = memoryview(data)
        while left:
            left = left[pipe.write(left) :]

    def end_input(self) -> None:
        _piped(self.process.stdin).close()
        self.process.stdin = None

    def next_record(self) -> Record:
        """The next line of stdout, as soon as it is there."""
        (record,) = records_in(_piped(self.process.stdout).readline().decode())
        return record

    def ask(self, request: Record) -> Record:
        """Send one request and wait for its record."""
        self.send(request)
        return self.next_record()

    def wait_until_said(self, *texts: str) -> None:
        """Read stderr until all of these are in it."""
        while not all(text in self._said for text in texts):
            line = _piped(self.process.stderr).readline().decode()
            assert line, f"it ended, and said:\n{self._said}"
            self._said += line

    def close_output(self) -> None:
        """What `| head -1` does when it has its line."""
        _piped(self.process.stdout).close()

    def finish(self) -> Result:
        """End the input, let the work end, and return what has not been read so far, and all of stderr."""
        stdout, stderr = self.process.communicate(timeout=_SECONDS)
        return Result(self.process.wait(), (stdout or b"").decode(), self._said + stderr.decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def ossctl(*arguments: object, cwd: Path, stdin: bytes = b"", **variables: str) -> Result:
    """Run `ossctl` in the folder `cwd`, with `variables` in its environment, to its end."""
    with launch(arguments, cwd, variables) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Result(process.wait(), stdout.decode(), stderr.decode())


def start(*arguments: object, cwd: Path, **variables: str) -> Live:
    """Start `ossctl` in the folder `cwd`; leaving the `with` block ends it."""
    return Live(launch(arguments, cwd, variables))


def launch(
    arguments: Iterable[object],
    cwd: Path,
    variables: Mapping[str, str] | None = None,
    streams: Streams = (subprocess.PIPE,) * 3,
) -> Process:
    """Start `ossctl` in the folder `cwd`; `streams` are its stdin, stdout and stderr, as `Popen` has them."""
    env = environment(cwd, **(variables or {}))
    if can_fork(variables or {}):
        return fork_server().start([str(each) for each in arguments], cwd, env, streams)
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        command(*arguments), cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=0
    )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "ossctl", *map(str, arguments)]


def environment(home: Path, **variables: str) -> dict[str, str]:
    """This process's environment without the user's settings, and with all of ossctl's files in `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    share_trial(home / "home")
    return {**kept, "OSSCTL_HOME": str(home / "home"), "OSSCTL_THREADS": "1", "PYTHONUTF8": "1", **variables}


def small_model(*, ctx: int = 512, parallel: int = 4) -> tuple[object, ...]:
    """The options for a batch that starts quickly and, on one thread, runs evenly on a busy machine."""
    return "-m", smollm2(), "--ctx", ctx, "--parallel", parallel, "--threads", 1


def line_of(request: object) -> bytes:
    return json.dumps(request, ensure_ascii=False).encode() + b"\n"


def write_jsonl(path: Path, *requests: object) -> Path:
    path.write_bytes(b"".join(map(line_of, requests)))
    return path


def records_in(text: str) -> list[Record]:
    """The records in an output. Every line has to be one, and the last one has to be complete."""
    assert not text or text.endswith("\n")
    records = [json.loads(line) for line in text.splitlines()]
    assert all(set(record) == {"id", "custom_id", "response", "error"} for record in records)
    return records


def by_id(records: list[Record]) -> dict[str, Record]:
    """Records by their custom_id, of which there must be one each."""
    found = {record["custom_id"]: record for record in records}
    assert len(found) == len(records)
    return found


def choice_of(record: Record) -> Record:
    """The one choice of an answered request."""
    assert record["error"] is None, record["error"]
    (choice,) = record["response"]["body"]["choices"]
    return dict(choice)


def content_of(record: Record) -> str:
    return str(choice_of(record)["message"]["content"])


def _piped(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
