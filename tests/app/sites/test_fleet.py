"""Sites that die, played by hand: which are started again, and what is said of those that are not."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.run import BatchModel
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.library.resolve import NANO_FILE
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.sites.engines import engine_places
from ossctl.app.sites.fleet import Arrived, Fleet, Place
from ossctl.app.sites.site import FromSite, Left, Lost, Ready, SiteEvent, SiteJob, SiteLine
from ossctl.app.sites.worker import SiteWorker
from ossctl.app.tools.options import ToolOptions
from ossctl.errors import OssctlError, UsageError
from ossctl.planning.workload import Workload
from tests.support.llama_oracle import has_rpc

READY = Ready("nano", b"", 1, 512, "", "")
DEAD = Lost("killed by SIGKILL")
GONE = Lost("worker gpubox:50052 is gone", innocent=True, hint="Start it again.")


class Played:
    """A site that has these events as soon as it is started."""

    def __init__(self, *events: SiteEvent) -> None:
        self._events = events

    def start(self, deliver: Callable[[SiteEvent], None]) -> None:
        for event in self._events:
            deliver(event)

    def submit(self, lines: Sequence[SiteLine]) -> None: ...

    def finish(self) -> None: ...

    def kill(self) -> None: ...


def job_on(path: Path) -> SiteJob:
    return SiteJob(BatchModel(path, LoadOptions()), LineParser(Defaults()), Workload(), ToolOptions())


def run(*sites: Sequence[SiteEvent], answers: bool = False) -> list[str]:
    """Play sites one after another, the last one again and again, until the fleet gives up."""
    left, said, arrivals = [*sites], list[str](), list[Arrived]()

    def next_site() -> Played:
        return Played(*(left.pop(0) if len(left) > 1 else left[0]))

    fleet = Fleet([Place("the engine", next_site)], said.append)
    fleet.start(Interrupt())
    fleet.deliver_to(arrivals.append)
    for _ in range(200):
        if arrivals:
            fleet.note(arrivals.pop(0))
            if answers:
                fleet.members[0].has_finished(1)
        fleet.check()
    return said


def test_a_worker_that_does_not_come_back_ends_the_batch_by_name() -> None:
    absent = Lost("no worker listens at gpubox:50052", innocent=True, hint="Start it.")
    with pytest.raises(OssctlError) as ended:
        run([READY, GONE], [absent])
    assert ended.value.message == "the engine did not start: no worker listens at gpubox:50052"
    assert ended.value.hint == "Start it."


def test_a_worker_that_always_dies_before_an_answer_ends_the_batch() -> None:
    with pytest.raises(
        OssctlError, match="the engine died 10 times without an answer: worker gpubox:50052 is gone"
    ):
        run([READY, GONE])


def test_a_worker_that_dies_after_answers_is_always_waited_for() -> None:
    said = run([READY, GONE], answers=True)
    assert said[0] == "the engine died (worker gpubox:50052 is gone); restarting."
    assert len(said) > 20


def test_a_worker_serves_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSSCTL_RPC", "gpubox:50052")
    with pytest.raises(UsageError, match="--engines 2: a worker serves one engine"):
        engine_places("2")(job_on(Path("m.gguf")))


@has_rpc
def test_a_site_says_that_a_worker_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("OSSCTL_RPC", address)
    said: list[FromSite] = []
    SiteWorker(job_on(NANO_FILE), said.append).run()
    assert said == [
        Left(f"no worker listens at {address}", "Start `ossctl worker` there, or correct the address.")
    ]


class Watched:
    """A fleet whose sites become ready and then deliver `last`."""

    def __init__(self, names: Sequence[str], last: Lost, pauses: tuple[float, ...] = (0.0, 0.0)) -> None:
        self.said: list[str] = []
        self._arrived: list[Arrived] = []
        places = [Place(name, lambda: Played(READY, last), pauses) for name in names]
        self.fleet = Fleet(places, self.said.append)
        self.fleet.start(Interrupt())
        self.fleet.deliver_to(self._arrived.append)

    def drain(self) -> list[Arrived]:
        """The events that have arrived since."""
        arrived, self._arrived[:] = self._arrived[:], []
        return arrived

    def run(self, deaths: int, *, finished: bool = False) -> None:
        """Take note of so many deaths, each after a finished line if `finished`."""
        while deaths:
            arrived = self._arrived.pop(0)
            if finished and isinstance(arrived.event, Ready):
                arrived.member.has_finished(1)
            known = self.fleet.note(arrived)
            deaths -= known and isinstance(arrived.event, Lost)
            self.fleet.check()


def test_a_site_that_dies_without_any_answer_is_left_out_by_name() -> None:
    watched = Watched(["one", "two"], DEAD)
    with pytest.raises(OssctlError, match="none of the 2 engines is left") as caught:
        watched.run(20)
    assert caught.value.exit_code == 1
    problem = "it died 10 times without an answer: killed by SIGKILL"
    assert [text for text in watched.said if "left out" in text] == [
        f"{name} is left out: {problem}" for name in ("one", "two")
    ]
    assert len(watched.said) == 20


def test_the_only_engine_is_named() -> None:
    with pytest.raises(OssctlError, match=r"^the engine died 10 times without an answer: killed by SIGKILL$"):
        Watched(["the engine"], DEAD).run(10)


def test_an_answer_is_a_new_start() -> None:
    watched = Watched(["the engine"], DEAD)
    watched.run(40, finished=True)
    assert watched.said == ["the engine died (killed by SIGKILL); restarting."] * 40


def test_lost_connections_are_made_again_after_growing_pauses() -> None:
    watched = Watched(["one", "two"], Lost("the connection was lost", innocent=True), (0.0, 20.0))
    watched.run(4)
    ends = [text.partition("(the connection was lost); ")[2] for text in watched.said]
    assert sorted(ends) == ["restarting in 20 s."] * 2 + ["restarting."] * 2


class Waiting(Played):
    """A site that is loading, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.was_killed = False

    def start(self, deliver: Callable[[SiteEvent], None]) -> None:
        self.deliver = deliver

    def kill(self) -> None:
        self.was_killed = True


def test_a_site_that_is_loading_when_all_is_answered_is_ended() -> None:
    late, said, arrived = Waiting(), list[str](), list[Arrived]()
    fleet = Fleet([Place("one", lambda: Played(READY)), Place("two", lambda: late)], said.append)
    fleet.start(Interrupt())
    fleet.deliver_to(arrived.append)
    fleet.finish()
    assert late.was_killed
    late.deliver(READY)
    assert not any(fleet.note(each) for each in arrived)
    assert [member.place.name for member in fleet.members if member.ready] == ["one"]
    assert not any(site.left_out for site in fleet.progress())


def test_a_site_that_dies_when_all_is_answered_is_not_started_again() -> None:
    watched = Watched(["one", "two"], DEAD)
    watched.fleet.finish()
    for arrived in watched.drain():
        watched.fleet.note(arrived)
        watched.fleet.check()
    assert not watched.said
    assert not watched.drain()
