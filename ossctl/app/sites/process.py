"""The driver's side of a site that is a process: a child on this machine, or any command that becomes one."""

import copyreg
import io
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, cast

import msgspec

from ossctl.app.sites import frames
from ossctl.app.sites.frames import Finish, Lines, Start, ToSite
from ossctl.app.sites.site import (
    BEAT_SECONDS,
    Beat,
    Ended,
    Failed,
    Hello,
    Left,
    Lost,
    SiteEvent,
    SiteJob,
    SiteLine,
    version_refusal,
)
from ossctl.app.tools.processes import NEW_GROUP
from ossctl.errors import ExitCode

_STDERR_LINES = 20
_EXIT_SECONDS = 1.0  # for a process to end by itself, so that its exit code tells why
_STDERR_SECONDS = 1.0  # to wait for the last lines of a dead process

_log = logging.getLogger(__name__)

CHILD = (sys.executable, "-P", "-m", "ossctl", "site")


class ProcessSite:
    """A site that `command` starts. It has a session of its own, so that Ctrl-C does not reach it."""

    def __init__(self, job: SiteJob, command: Sequence[str] = CHILD) -> None:
        self._job = job
        self._command = command
        self._outbox: SimpleQueue[ToSite | None] = SimpleQueue()
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._refusal: Failed | None = None
        self._greeted = False
        self._ended = False

    def start(self, deliver: Callable[[SiteEvent], None]) -> None:
        """As in `Site`."""
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(  # noqa: S603
                self._command,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,
                creationflags=NEW_GROUP,
            )
        except OSError as error:
            problem = f"cannot start {self._command[0]}: {error.strerror or error}"
            deliver(Failed(ExitCode.FAILED, problem))
            return
        self._process = process
        self._listener = Thread(target=self._listen, args=(process,), name="stderr of a site", daemon=True)
        self._listener.start()
        Thread(target=self._send, args=(process,), name="to a site", daemon=True).start()
        Thread(target=self._receive, args=(process, deliver), name="from a site", daemon=True).start()

    def submit(self, lines: Sequence[SiteLine]) -> None:
        """As in `Site`."""
        self._outbox.put(Lines(list(lines)))

    def finish(self) -> None:
        """As in `Site`."""
        self._outbox.put(Finish())

    def kill(self) -> None:
        """As in `Site`."""
        if (process := self._process) is None:
            return
        with suppress(OSError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        self._outbox.put(None)

    def _send(self, process: subprocess.Popen[bytes]) -> None:
        pipe = _opened(process.stdin)
        with suppress(OSError, ValueError):
            while (message := self._next_message()) is not None:
                frames.write(pipe, message)
        with suppress(OSError):
            pipe.close()

    def _next_message(self) -> ToSite | None:
        try:
            return self._outbox.get(timeout=BEAT_SECONDS)
        except Empty:
            return Beat()

    def _receive(self, process: subprocess.Popen[bytes], deliver: Callable[[SiteEvent], None]) -> None:
        problem, left = "", None
        try:
            for message in frames.of_site(_opened(process.stdout), lambda: deliver(Beat())):
                if isinstance(message, Hello):
                    deliver(Beat())
                    self._greet(message)
                    continue
                if isinstance(message, Left):
                    left = message.as_lost()
                    continue
                self._ended = self._ended or isinstance(message, Ended)
                deliver(message)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            problem = f"it wrote something that is not a message: {error}"
        except Exception as error:  # noqa: BLE001 (a bug, which must not leave the batch waiting)
            _log.exception("receiving from a site")
            problem = f"unexpected error: {error!r}"
        if not self._ended:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_SECONDS)
            self.kill()
        code = process.wait()
        _opened(process.stdout).close()
        self.kill()  # what it has started and left
        self._process = None  # its id may become that of another one
        if not self._ended:
            self._listener.join(_STDERR_SECONDS)
            deliver(self._refusal or left or self._death(code, problem))

    def _death(self, code: int, problem: str) -> Failed | Lost:
        """Why the process has ended, with this exit code."""
        return Lost(problem or how(code), "\n".join(self._stderr))

    def _greet(self, hello: Hello) -> None:
        """Send the job, which only the same version understands."""
        self._greeted = True
        self._stderr.clear()  # of what has started the process
        self._refusal = version_refusal(hello.ossctl, hello.llama_cpp)
        if self._refusal is None:
            self._outbox.put(Start(_pickled(self._job)))
        else:
            self.kill()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        with _opened(process.stderr) as pipe:
            for line in pipe:
                self._stderr.append(line.decode("utf-8", "replace").rstrip())


def _pickled(job: SiteJob) -> bytes:
    """The job for any version of Python: the classes of paths are not in the same module in each."""
    data = io.BytesIO()
    pickler = pickle.Pickler(data)
    pickler.dispatch_table = copyreg.dispatch_table | {type(Path()): lambda path: (as_path, (str(path),))}
    pickler.dump(job)
    return data.getvalue()


def as_path(text: str) -> Path:
    """What is pickled in place of a path."""
    return Path(text)


def _opened(pipe: IO[bytes] | None) -> BufferedIOBase:
    return cast(BufferedIOBase, pipe)


def how(code: int) -> str:
    """`killed by SIGKILL`, or `exit code 1`."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
