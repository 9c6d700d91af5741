"""The actor on a node: a site behind calls of Ray."""

import asyncio
import pickle
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Thread

import msgspec

from ossctl import __version__
from ossctl.app.inference.loading import explain_crashes
from ossctl.app.sites.process_end import end_process
from ossctl.app.sites.site import BEAT_SECONDS, FromSite, SiteJob, SiteLine
from ossctl.app.sites.worker import SiteWorker
from ossctl.build import VERSION
from ossctl.runtime.host import physical_cores

_GATHER_SECONDS = 0.1  # for what is finished soon after: a reply costs more than a record
_MAX_BYTES = 64 * 1024  # in one reply: above 100 KB, Ray takes a detour over shared memory

_lines = msgspec.msgpack.Decoder(list[SiteLine])
_encoder = msgspec.msgpack.Encoder()


class NodeActor:
    """Answers lines, as a class that Ray makes an actor of. What it sends is encoded with msgpack.

    Ray runs its methods on one event loop, and the site has threads of its own.
    """

    def __init__(self) -> None:
        self._outbox: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._error: Exception | None = None
        self._last_acts: list[Callable[[], None]] = []

    async def hello(self) -> tuple[str, str]:
        """The versions of ossctl and of llama.cpp's package, before anything that depends on them."""
        return __version__, VERSION

    async def start(self, job: bytes, n_cpus: float) -> None:
        """Start the site. `job` is a pickled SiteJob, `n_cpus` are what Ray gives this actor."""
        self._loop = asyncio.get_running_loop()
        explain_crashes("")
        found = on_cpus(pickle.loads(job), n_cpus, physical_cores())  # noqa: S301
        self._worker = SiteWorker(found, self._tell)
        self._last_acts.append(self._worker.close)
        Thread(target=self._run, name="site", daemon=True).start()

    async def submit(self, lines: bytes) -> None:
        """Have lines answered."""
        self._worker.submit(_lines.decode(lines))

    async def finish(self) -> None:
        """End when all lines are answered."""
        self._worker.finish()

    async def leave(self) -> None:
        """End this process at once. Unlike `ray.kill`, a call of an actor needs no head."""
        end_process(*self._last_acts)

    async def collect(self) -> list[bytes]:
        """What the site has said since the last call, at least a heartbeat every `BEAT_SECONDS`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), BEAT_SECONDS)
            await asyncio.sleep(_GATHER_SECONDS)
        self._news.clear()  # before the outbox is read: what comes meanwhile sets it again
        taken, n_bytes = [], 0
        while self._outbox and n_bytes < _MAX_BYTES:
            taken.append(self._outbox.popleft())
            n_bytes += len(taken[-1])
        if self._outbox:
            self._news.set()
        elif not taken and self._error is not None:
            raise self._error
        return taken

    def _run(self) -> None:
        try:
            self._worker.run()
        except Exception as error:  # noqa: BLE001 (a bug: raised by `collect`, so that the driver sees it)
            self._error = error
            self._wake()

    def _tell(self, message: FromSite) -> None:
        self._outbox.append(_encoder.encode(message))
        self._wake()

    def _wake(self) -> None:
        if not self._news.is_set():
            self._loop.call_soon_threadsafe(self._news.set)


def on_cpus(job: SiteJob, n_cpus: float, cores: int) -> SiteJob:
    """The job with the threads for `n_cpus` of Ray's: ggml takes no heed of OMP_NUM_THREADS, nor of Ray."""
    options = job.model.options
    threads = options.threads or max(1, min(cores, int(n_cpus)))
    return replace(job, model=replace(job.model, options=replace(options, threads=threads)))
