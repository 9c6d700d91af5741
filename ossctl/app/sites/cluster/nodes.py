"""The nodes of a cluster that can answer lines, and whether its head still lives."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from typing import Any

_POLL_SECONDS = 1.0  # between looks for nodes that have joined
_SHORT_ID = 6  # characters of a node's id that tell apart nodes of one machine

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """A live node with CPUs or GPUs. `name` is that of its machine, and unique."""

    id: str
    name: str
    n_cpus: float
    n_gpus: float


def usable(listed: Iterable[Mapping[str, Any]]) -> list[Node]:
    """The nodes that can answer lines, of what `ray.nodes()` lists."""
    known = list(listed)  # dead ones as well, so that a node is not called as one before it
    machines = Counter(node["NodeManagerHostname"] for node in known)
    nodes = [
        _node(node, unique=machines[node["NodeManagerHostname"]] == 1) for node in known if node["Alive"]
    ]
    return [node for node in nodes if node.n_cpus >= 1 or node.n_gpus >= 1]


def _node(listed: Mapping[str, Any], *, unique: bool) -> Node:
    name, resources = listed["NodeManagerHostname"], listed["Resources"]
    if not unique:
        name = f"{name} ({listed['NodeID'][:_SHORT_ID]})"
    return Node(listed["NodeID"], name, resources.get("CPU", 0), resources.get("GPU", 0))


class NodeWatch:
    """Lists the nodes once a second on a thread of its own, because the call hangs when the head is gone.

    `on_nodes` is called on that thread with the live nodes, each time they are not the same.
    """

    def __init__(
        self,
        list_nodes: Callable[[], Sequence[Mapping[str, Any]]],
        on_nodes: Callable[[list[Node]], None],
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._list = list_nodes
        self._on_nodes = on_nodes
        self._poll_seconds = poll_seconds
        self._asked = 0.0  # when it was first asked without an answer yet
        self._ended = Event()
        self._thread = Thread(target=self._run, name="nodes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current call, without waiting for it."""
        self._ended.set()

    @property
    def silent_seconds(self) -> float:
        """Seconds for which the head has not answered a call; 0 between calls."""
        asked = self._asked
        return monotonic() - asked if asked else 0.0

    def _run(self) -> None:
        known: list[Node] = []
        while not self._ended.is_set():
            self._asked = self._asked or monotonic()
            try:
                nodes = usable(self._list())
            except Exception as error:  # noqa: BLE001 (any error of Ray's here means: no answer)
                _log.info("listing nodes: %s", error)
            else:
                self._asked = 0.0
                if nodes != known:
                    known = nodes
                    self._on_nodes(nodes)
            self._ended.wait(self._poll_seconds)
