"""The actor on a node: a site behind calls of Ray."""

import asyncio
import pickle
from collections import deque
from contextlib import suppress
from threading import Thread

import msgspec

from ossctl import __version__
from ossctl.app.inference.loading import explain_crashes
from ossctl.app.sites.cluster.node_job import NodeJob
from ossctl.app.sites.site import BEAT_SECONDS, Failed, FromSite, SiteLine
from ossctl.app.sites.worker import SiteWorker
from ossctl.build import VERSION
from ossctl.errors import OssctlError

_GATHER_SECONDS = 0.005  # for what is finished in the same step
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

    async def hello(self) -> tuple[str, str]:
        """The versions of ossctl and of llama.cpp's package, before anything that depends on them."""
        return __version__, VERSION

    async def start(self, order: bytes) -> None:
        """Start the site; `order` is a pickled NodeJob."""
        self._loop = asyncio.get_running_loop()
        explain_crashes("")
        Thread(target=self._run, args=(pickle.loads(order),), name="site", daemon=True).start()  # noqa: S301

    async def submit(self, lines: bytes) -> None:
        """Have lines answered."""
        self._worker.submit(_lines.decode(lines))

    async def finish(self) -> None:
        """End when all lines are answered."""
        self._worker.finish()

    async def collect(self) -> list[bytes]:
        """What the site has said since the last call, at least a sign of life every `BEAT_SECONDS`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), BEAT_SECONDS)
            await asyncio.sleep(_GATHER_SECONDS)
        taken, n_bytes = [], 0
        while self._outbox and n_bytes < _MAX_BYTES:
            taken.append(self._outbox.popleft())
            n_bytes += len(taken[-1])
        if not self._outbox:
            self._news.clear()
            if not taken and self._error is not None:
                raise self._error
        return taken

    def _run(self, order: NodeJob) -> None:
        try:
            self._worker = SiteWorker(order.on_this_node(), self._tell)
            self._worker.run()
        except OssctlError as error:
            self._tell(Failed(int(error.exit_code), error.message, error.hint))
        except Exception as error:  # noqa: BLE001 (a bug: raised by `collect`, so that the driver sees it)
            self._error = error
            self._loop.call_soon_threadsafe(self._news.set)

    def _tell(self, message: FromSite) -> None:
        self._outbox.append(_encoder.encode(message))
        self._loop.call_soon_threadsafe(self._news.set)
