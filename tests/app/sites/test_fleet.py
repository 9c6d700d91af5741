"""Which sites are started again, and which are left out."""

from collections.abc import Callable, Sequence

import pytest

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.sites.fleet import Arrived, Fleet, Place
from ossctl.app.sites.site import Lost, Ready, SiteEvent, SiteLine
from ossctl.errors import OssctlError

READY = Ready("model", b"", 1, 512, "0.1", "0.3")
DEAD = Lost("killed by SIGKILL")


class ScriptedSite:
    """Delivers its events at once."""

    def __init__(self, *events: SiteEvent) -> None:
        self._events = events

    def start(self, deliver: Callable[[SiteEvent], None]) -> None:
        for event in self._events:
            deliver(event)

    def submit(self, lines: Sequence[SiteLine]) -> None:
        """Nothing is answered."""

    def finish(self) -> None:
        """Nothing ends by itself."""

    def kill(self) -> None:
        """Nothing runs."""


class Watched:
    """A fleet whose sites become ready and then deliver `last`."""

    def __init__(self, names: Sequence[str], last: Lost, pauses: tuple[float, ...] = (0.0, 0.0)) -> None:
        self.said: list[str] = []
        self._arrived: list[Arrived] = []
        places = [Place(name, lambda: ScriptedSite(READY, last), pauses) for name in names]
        self.fleet = Fleet(places, self.said.append)
        self.fleet.start(Interrupt())
        self.fleet.deliver_to(self._arrived.append)

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
    assert watched.said == ["the engine died (killed by SIGKILL) and is started again."] * 40


def test_lost_connections_are_made_again_after_growing_pauses() -> None:
    watched = Watched(["one", "two"], Lost("the connection was lost", innocent=True), (0.0, 20.0))
    watched.run(4)
    ends = [text.partition("(the connection was lost) and is started ")[2] for text in watched.said]
    assert sorted(ends) == ["again."] * 2 + ["in 20 s."] * 2
