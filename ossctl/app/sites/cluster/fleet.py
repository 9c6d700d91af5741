"""The sites of a cluster: one on every node, also on those that join later."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.sites.cluster.nodes import Node, NodeWatch, usable
from ossctl.app.sites.cluster.site import ActorSite
from ossctl.app.sites.fleet import Fleet, Member, Place
from ossctl.app.sites.site import FROZEN_SECONDS, Ready, SiteJob
from ossctl.errors import OssctlError, UsageError

_BUSY_SECONDS = 30.0  # for an actor to start; it takes 1 to 3 s
_HEAD_SILENT_SECONDS = 6.0  # of a head that is busy at most: its answers take milliseconds
_HEAD_GONE_SECONDS = 45.0  # Ray ends this process after 60 s without a word, and the nodes as well


class ClusterFleet(Fleet):
    """A fleet whose places are the nodes of a Ray cluster."""

    def __init__(self, ray: Any, job: SiteJob, say: Callable[[str], None], saved: str) -> None:
        """`saved` is a sentence on what survives the end of the cluster."""
        super().__init__((), say)
        self._ray = ray
        self._job = job
        self._saved = saved
        self._known: set[str] = set()  # ids
        self._named: set[Member] = set()
        self._joined: SimpleQueue[list[Node]] = SimpleQueue()
        self._watch = NodeWatch(ray.nodes, self._joined.put)
        self._silent = False

    def start(self, interrupt: Interrupt) -> Ready:
        """As in `Fleet`. Raises UsageError for a cluster without any node that has CPUs."""
        nodes = usable(self._ray.nodes())
        if not nodes:
            raise UsageError("the Ray cluster has no node with CPUs", "`ray status` shows what it has.")
        self._welcome_nodes(nodes)
        self._watch.start()
        return super().start(interrupt)

    def check(self) -> None:
        """As in `Fleet`; also start sites on nodes that have joined. Raises OssctlError without a head."""
        for member in self.members:
            if isinstance(member.site, ActorSite) and (seconds := member.site.waiting_seconds):
                self._wait_for(member, seconds)
        super().check()
        with suppress(Empty):
            while True:
                self._welcome_nodes(self._joined.get_nowait())
        self._check_head()

    def close(self) -> None:
        """As in `Fleet`."""
        self._watch.stop()
        super().close()

    def _welcome_nodes(self, nodes: list[Node]) -> None:
        for node in nodes:
            if node.id not in self._known:
                self._known.add(node.id)
                if self.first is not None:
                    self._say(f"{node.name} has joined the cluster.")
                self.join(Place(node.name, partial(ActorSite, self._ray, node, self._job)))

    def _wait_for(self, member: Member, seconds: float) -> None:
        """A node that is busy with other work is no frozen one."""
        member.silent_by = monotonic() + FROZEN_SECONDS
        if seconds > _BUSY_SECONDS and member not in self._named:
            self._named.add(member)
            self._say(
                f"{member.place.name} has not started an engine yet: are its CPUs busy with other jobs?"
            )

    def _check_head(self) -> None:
        silent = self._watch.silent_seconds
        if silent < _HEAD_SILENT_SECONDS:
            if self._silent:
                self._say("The head node of the Ray cluster responds again.")
            self._silent = False
        elif not self._silent:
            self._silent = True
            self._say(
                "The head node of the Ray cluster does not respond. The nodes continue, but the batch "
                f"stops if this lasts for {_HEAD_GONE_SECONDS:.0f} s."
            )
        elif silent > _HEAD_GONE_SECONDS:
            raise OssctlError("the head node of the Ray cluster is gone", self._saved)
