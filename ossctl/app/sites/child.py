"""A site in a process of its own, behind stdin and stdout: what the hidden command `ossctl site` runs.

It ends at the end of its stdin, at once: then the driver is gone, however it ended.
"""

import os
import pickle
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedIOBase
from threading import Lock, Thread
from time import monotonic, sleep

from ossctl import __version__
from ossctl.app.inference.loading import explain_crashes
from ossctl.app.sites import frames
from ossctl.app.sites.frames import Finish, Lines, Start, ToSite
from ossctl.app.sites.process_end import end_process
from ossctl.app.sites.site import BEAT_SECONDS, FROZEN_SECONDS, Failed, FromSite, Hello, Left, SiteJob
from ossctl.app.sites.worker import SiteWorker
from ossctl.build import VERSION
from ossctl.errors import ExitCode
from ossctl.runtime.crash import LOST_ADVICE, crash_reporter

_SILENT_SECONDS = (
    FROZEN_SECONDS - BEAT_SECONDS
)  # then a distant driver is gone, before it starts another site


def serve() -> None:
    """Answer the lines of one job from stdin; what libraries print goes to stderr."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if sys.platform != "win32":
        with suppress(OSError):  # it already leads a session
            os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # for the programs of tools
    _Child(source, sink).run()


class _Child:
    def __init__(self, source: BufferedIOBase, sink: BufferedIOBase) -> None:
        self._messages = frames.of_driver(source, self._hear)
        self._sink = sink
        self._lock = Lock()
        self._heard = monotonic()

    def run(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver
        explain_crashes("")
        crash_reporter().on_lost = lambda reason: self._tell(Left(reason, LOST_ADVICE))
        with suppress(OSError):
            frames.begin(self._sink)
        self._tell(Hello(__version__, VERSION))
        start = next((message for message in self._messages if isinstance(message, Start)), None)
        if start is None:
            return
        try:
            job: SiteJob = pickle.loads(start.job)  # noqa: S301 (from the driver, which has started this process)
        except Exception as error:  # noqa: BLE001 (whatever differs between versions of Python)
            python = ".".join(map(str, sys.version_info[:2]))
            self._tell(Failed(ExitCode.FAILED, f"its Python {python} cannot read the job: {error}"))
            return
        if job.cpus and sys.platform == "linux":
            os.sched_setaffinity(0, job.cpus)
        worker = SiteWorker(job, self._tell)
        Thread(target=self._take, args=(self._messages, worker), name="driver", daemon=True).start()
        if job.distant:
            Thread(target=self._listen, args=(worker,), name="driver's beats", daemon=True).start()
        worker.run()

    def _tell(self, message: FromSite) -> None:
        with self._lock, suppress(OSError, ValueError):  # without a driver, `_take` ends the process
            frames.write(self._sink, message)

    def _hear(self) -> None:
        self._heard = monotonic()

    def _take(self, messages: Iterator[ToSite], worker: SiteWorker) -> None:
        """Take lines until the pipe's end, and end the process there."""
        try:
            for message in messages:
                self._hear()
                if isinstance(message, Lines):
                    worker.submit(message.lines)
                elif isinstance(message, Finish):
                    worker.finish()
        finally:
            end_process(worker.close)

    def _listen(self, worker: SiteWorker) -> None:
        """End the process when the driver is silent: a network that is cut does not end the pipe."""
        self._heard = before = monotonic()
        while monotonic() - self._heard < _SILENT_SECONDS:
            sleep(1)
            if monotonic() - before > BEAT_SECONDS:  # this process itself was stopped
                self._heard = monotonic()
            before = monotonic()
        silence = f"it received nothing from this machine for {_SILENT_SECONDS:.0f} s"
        end_process(lambda: self._tell(Left(silence)), worker.close)
