"""Speaks with an interpreter in a process of its own: see child.py, which is the other end."""

import os
import secrets
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Condition, Thread
from time import monotonic
from typing import IO, NamedTuple

from ossctl.app.tools.processes import NEW_GROUP, kill_group
from ossctl.app.tools.python.interpreter import Cell, Limits, Unavailable, shortened, stop_reason
from ossctl.app.tools.source import MAX_RESULT_BYTES, POLL_SECONDS, KeepGoing

_INTERRUPT_SECONDS = 1.0  # how long code may take to stop before its process is killed
_END_SECONDS = 2.0
_READ_BYTES = 64 * 1024
_MAX_REPLY = 1 << 20  # bytes

_STARTED = b"\0started\0"  # child.py's
_ENDS = {  # child.py's exit codes
    80: "killed because it started more than {processes} processes",
    81: "killed because it took more than {memory} MiB of memory",
    82: "the Python process ended",
}


class ProcessInterpreter:
    """An interpreter behind the pipes of the process `argv`. `kill` ends what outlives the process."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str] | None,
        limits: Limits,
        kill: Callable[[], None] = lambda: None,
    ) -> None:
        self._limits = limits
        self._kill = kill
        try:
            self._process = subprocess.Popen(  # noqa: S603 (a sandbox)
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # no terminal to read keys from, no Ctrl-C from it
                creationflags=NEW_GROUP,
            )
        except OSError as error:
            raise Unavailable(f"{argv[0]} cannot be run: {error.strerror}", "") from None
        if self._process.stdout is None or self._process.stderr is None:
            raise ValueError("the output is not piped")
        self._replies = _Replies(self._process.stdout)
        self._output = _Output(self._process.stderr)

    def run(self, code: str, keep_going: KeepGoing) -> Cell:
        """Run code; interrupt it if it has to stop, and kill the process if that does not help."""
        marker = secrets.token_hex(16)
        self._output.begin(marker)
        self._send(marker.encode() + code.encode())
        deadline = monotonic() + self._limits.seconds
        reply, reason, going = None, "", True
        while not reason and (reply := self._replies.next(POLL_SECONDS)) is None:
            going = keep_going()
            reason = stop_reason(
                self._limits, going=going, printed=self._output.printed, late=monotonic() > deadline
            )
        if reason:
            self._send(b"")
            reply = self._replies.next(_INTERRUPT_SECONDS)
        lost = reply is None or reply.closed
        error = reason or (self._why_it_ended() if reply is None or lost else reply.error)
        if lost:
            self._end()
        return Cell(self._output.take(_END_SECONDS), error, lost=lost, stopped=not going)

    def close(self) -> None:
        """End the process."""
        self._end()
        self._output.stop()

    def _send(self, data: bytes) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):  # it has ended, which the missing reply shows
                self._process.stdin.write(struct.pack(">I", len(data)) + data)
                self._process.stdin.flush()

    def _why_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        why = _ENDS.get(self._process.returncode, "the interpreter ended")
        return why.format(processes=self._limits.processes, memory=self._limits.memory >> 20)

    def _end(self) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        if self._process.poll() is None:
            kill_group(self._process)
            self._kill()
        self._process.wait()


class _Reply(NamedTuple):
    """The error of the code, if any; `closed` if there will be no more replies."""

    error: str = ""
    closed: bool = False


class _Replies:
    """Reads the replies on a thread."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._queue: SimpleQueue[_Reply] = SimpleQueue()
        Thread(target=self._read, name="python", daemon=True).start()

    def next(self, seconds: float) -> _Reply | None:
        """The next reply, None if there is none within `seconds`."""
        try:
            return self._queue.get(timeout=seconds)
        except Empty:
            return None

    def _read(self) -> None:
        with self._pipe, suppress(ValueError, OSError):
            while (
                len(head := self._pipe.read(4)) == 4 and (size := struct.unpack(">I", head)[0]) <= _MAX_REPLY
            ):
                self._queue.put(_Reply(self._pipe.read(size).decode("utf-8", "replace")))
        self._queue.put(_Reply(closed=True))


class _Output:
    """Reads what code prints on a thread, while a call runs, and keeps the first MAX_RESULT_BYTES.

    Between calls nothing is read, so that what code left running in the background has to wait.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self.printed = 0
        self._pipe = pipe
        self._kept = bytearray()
        self._recent = b""
        self._marker = b""
        self._started = self._reading = self._ended = False
        self._changed = Condition()
        Thread(target=self._read, name="python", daemon=True).start()

    def begin(self, marker: str) -> None:
        """Read until `marker`."""
        with self._changed:
            self._marker, self._reading = marker.encode(), True
            self._changed.notify_all()

    def take(self, seconds: float) -> str:
        """What was printed before the marker; waits for it, at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not self._reading, seconds)
            self._reading = False
            output, found, _ = bytes(self._kept).partition(self._marker)
            text = shortened(output, len(output) if found else self.printed - len(self._marker))
            self.printed, self._kept, self._recent = 0, bytearray(), b""
            return text

    def stop(self) -> None:
        """Read nothing more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read(self) -> None:
        with self._pipe, suppress(OSError):
            while self._wanted() and (data := os.read(self._pipe.fileno(), _READ_BYTES)):
                with self._changed:
                    self._add(data)
        self.stop()

    def _wanted(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._reading or self._ended)
            return not self._ended

    def _add(self, data: bytes) -> None:
        if not self._started:
            _, start, rest = (self._kept + data).partition(_STARTED)
            if start:
                self._started, self.printed, self._kept, data = True, 0, bytearray(), bytes(rest)
        self.printed += len(data)
        self._kept += data[: MAX_RESULT_BYTES + len(self._marker) - len(self._kept)]
        self._recent += data
        if self._marker in self._recent:
            self._reading = False
            self._changed.notify_all()
        self._recent = self._recent[-len(self._marker) :]
