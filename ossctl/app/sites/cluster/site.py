"""The driver's side of an actor on a node."""

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread
from time import monotonic
from typing import Any

import msgspec

from ossctl.app.sites.cluster.actor import NodeActor
from ossctl.app.sites.cluster.deaths import death_of
from ossctl.app.sites.cluster.nodes import Node
from ossctl.app.sites.site import (
    Ended,
    Failed,
    FromSite,
    Left,
    Lost,
    SiteEvent,
    SiteJob,
    SiteLine,
    version_refusal,
)
from ossctl.errors import ExitCode

_CONCURRENT_CALLS = 64  # a call waits in `collect`, and the others are short

_events: msgspec.msgpack.Decoder[FromSite] = msgspec.msgpack.Decoder(FromSite)
_encoder = msgspec.msgpack.Encoder()


class ActorSite:
    """A site that is an actor with all CPUs and GPUs of one node. Ray neither restarts it nor repeats calls.

    One call at a time waits at the actor for what it has to say, so that a line costs the driver a fraction
    of a call. Replies arrive on a thread of Ray.
    """

    def __init__(self, ray: Any, node: Node, job: SiteJob) -> None:
        self._ray = ray
        self._node = node
        self._job = job
        self._lock = Lock()
        self._actor: Any = None
        self._over = False  # the last event has been delivered
        self._runs = False  # Ray has started the actor

    @property
    def waiting_seconds(self) -> float:
        """Seconds for which Ray has not started the actor, nor failed to; 0 from then on."""
        return 0.0 if self._runs or self._over else monotonic() - self._asked

    def start(self, deliver: Callable[[SiteEvent], None]) -> None:
        """As in `Site`."""
        self._deliver, self._asked = deliver, monotonic()
        Thread(target=self._create, name="new actor", daemon=True).start()  # without a head, that hangs

    def submit(self, lines: Sequence[SiteLine]) -> None:
        """As in `Site`."""
        self._call("submit", _encoder.encode(lines))

    def finish(self) -> None:
        """As in `Site`."""
        self._call("finish")

    def kill(self) -> None:
        """As in `Site`."""
        self._end(Lost("it stopped responding", innocent=True))

    def _create(self) -> None:
        try:
            self._actor = self._new_actor()
        except Exception as error:  # noqa: BLE001 (any error of Ray)
            self._die(error)
            return
        if self._over:  # killed meanwhile
            self._end_actor()
            return
        self._when_done(self._actor.hello.remote(), self._greet)

    def _new_actor(self) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return (
            self._ray.remote(NodeActor)
            .options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(self._node.id, soft=False),
                num_cpus=self._node.n_cpus,
                num_gpus=self._node.n_gpus,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=_CONCURRENT_CALLS,
            )
            .remote()
        )

    def _greet(self, versions: tuple[str, str]) -> None:
        """Start the site, if it has the versions of this process: others may not understand the job."""
        self._runs = True
        if refusal := version_refusal(*versions):
            self._end(refusal)
            return
        self._call("start", pickle.dumps(self._job), self._node.n_cpus)
        self._collect()

    def _collect(self) -> None:
        self._when_done(self._actor.collect.remote(), self._receive)

    def _receive(self, replies: Sequence[bytes]) -> None:
        for reply in replies:
            event = _events.decode(reply)
            if isinstance(event, Failed | Ended | Left):
                self._end(event.as_lost() if isinstance(event, Left) else event)
                return
            with self._lock:
                if not self._over:
                    self._deliver(event)
        if not self._over:
            self._collect()

    def _call(self, name: str, *arguments: object) -> None:
        if not self._over:
            self._when_done(getattr(self._actor, name).remote(*arguments), lambda _: None)

    def _when_done(self, reference: Any, then: Callable[[Any], None]) -> None:
        """Call `then` with the result on a thread of Ray. Any error of the call is the site's death."""

        def done(future: Future[Any]) -> None:
            try:
                then(future.result())
            except Exception as error:  # noqa: BLE001 (any error of Ray, or a bug: the batch must not wait)
                self._die(error)

        if not self._over:
            reference.future().add_done_callback(done)

    def _die(self, error: BaseException) -> None:
        death = death_of(error)
        if death.final:
            self._end(Failed(int(ExitCode.FAILED), death.reason))
        else:
            self._end(Lost(death.reason, innocent=death.innocent))

    def _end(self, last: SiteEvent) -> None:
        """Deliver the last event, once, and end the actor: it may be alive, with its node's GPUs."""
        with self._lock:
            if self._over:
                return
            self._over = True
            self._deliver(last)
        if self._actor is not None:
            self._end_actor()

    def _end_actor(self) -> None:
        """Have the actor end itself, and Ray end it in case that it cannot."""
        with suppress(Exception):
            self._actor.leave.remote()
        Thread(target=self._kill_actor, daemon=True).start()  # without a head, that hangs

    def _kill_actor(self) -> None:
        with suppress(Exception):
            self._ray.kill(self._actor, no_restart=True)
