"""The sites of one batch: starts them, restarts those that die, and notices those that freeze."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock

from ossctl.app.batch.line_runner import TICK_SECONDS, Outside
from ossctl.app.batch.summary import SiteProgress
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.sites.site import FROZEN_SECONDS, Failed, Lost, Note, Ready, Site, SiteEvent, Stats
from ossctl.errors import ExitCode, MemoryShortage, ModelError, OssctlError, UsageError

_GRACE = 60.0  # seconds, for ssh, and for Python to start from a cold or distant disk
_MAX_FRUITLESS = 10  # more than it takes to find a request that ends its engine

_ERRORS = {error.exit_code: error for error in (UsageError, ModelError, MemoryShortage)}


@dataclass(frozen=True)
class Place:
    """Where a site is started, and started again after it has died.

    `pauses` are the seconds before each restart in a row. A place is given up when as many starts in a row
    have failed. `grace` is how many seconds a start may take until its first heartbeat. If it `is_named`,
    what is printed of it begins with its name.
    """

    name: str
    new_site: Callable[[], Site]
    pauses: tuple[float, ...] = (0.0, 0.0)
    grace: float = _GRACE
    is_named: bool = False


@dataclass(eq=False)
class Member:
    """A place and its present site. `deaths` are the reasons why earlier ones ended.

    `failed_starts` counts those in a row, `fruitless` the deaths since the last answer. `ready` is None while
    the site is loading. `gone` is whether it is not started again, `left_out` whether that is because of a
    failure. `silent_by` is when the site is given up unless it is heard of, `restart_at` when the next one is
    started if it is dead.
    """

    place: Place
    site: Site
    ready: Ready | None = None
    stats: Stats = field(default_factory=Stats)
    silent_by: float = math.inf
    restart_at: float = math.inf
    was_silent: bool = False
    deaths: list[str] = field(default_factory=list)
    failed_starts: int = 0
    fruitless: int = 0
    gone: bool = False
    left_out: bool = False
    done: int = 0
    tokens: int = 0

    def has_finished(self, tokens: int) -> None:
        """Note a line with its generated tokens."""
        self.done, self.tokens, self.fruitless = self.done + 1, self.tokens + tokens, 0

    def cause_of(self, lost: Lost) -> str:
        """Why its site was lost, in one line."""
        return "it stopped responding" if self.was_silent else lost.cause


@dataclass(frozen=True)
class Arrived(Outside):
    """An event of a member's site, which may no longer be its present one."""

    member: Member
    site: Site
    event: SiteEvent


class Fleet:
    """All sites of a batch. Used by one thread, which gets the events through a queue.

    All sites must have the same versions and the same model, or they are refused.
    """

    def __init__(self, places: Sequence[Place], say: Callable[[str], None]) -> None:
        """`say` prints what the user should know about sites that die."""
        self._places = places
        self._say = say
        self._lock = Lock()
        self._early: SimpleQueue[Arrived] = SimpleQueue()
        self._sink: Callable[[Arrived], None] = self._early.put
        self._checked = time.monotonic()
        self._finishing = False
        self.first: Ready | None = None
        self.members: list[Member] = []

    @property
    def n_seq(self) -> int:
        """Requests that are answered together."""
        return sum(member.ready.n_seq for member in self.members if member.ready)

    @property
    def n_ctx(self) -> int:
        """Tokens of a request and its answer; 0 before a site is ready."""
        return self.first.n_ctx if self.first else 0

    @property
    def names_remarks(self) -> bool:
        """Whether the fleet itself prints the remarks of its sites."""
        return any(place.is_named for place in self._places)

    def start(self, interrupt: Interrupt) -> Ready:
        """Start all sites and wait until one is ready. Raises OssctlError if all fail, and Interrupted."""
        for place in self._places:
            self.join(place)
        while self.first is None:
            interrupt.check("Nothing was written.")
            self.check()
            try:
                arrived = self._early.get(timeout=TICK_SECONDS)
            except Empty:
                continue
            self.note(arrived)
        return self.first

    def join(self, place: Place) -> Member:
        """Start one more site."""
        member = Member(place, place.new_site())
        self.members.append(member)
        self._start(member)
        return member

    def deliver_to(self, sink: Callable[[Arrived], None]) -> None:
        """Deliver all further events there."""
        with self._lock:
            while not self._early.empty():
                sink(self._early.get())
            self._sink = sink

    def note(self, arrived: Arrived) -> bool:
        """Note an event; False if it is of a site that was given up. Raises OssctlError without any site."""
        member, event = arrived.member, arrived.event
        if arrived.site is not member.site or member.gone:
            return False
        if self._finishing and isinstance(event, Failed | Lost):
            self._dismiss(member)
            return False
        member.silent_by = time.monotonic() + FROZEN_SECONDS
        if isinstance(event, Ready):
            self._welcome(member, event)
        elif isinstance(event, Stats):
            member.stats = event
        elif isinstance(event, Note):
            self._say(f"{member.place.name}: {event.text}")
        elif isinstance(event, Failed):
            self._give_up(member, event)
        elif isinstance(event, Lost):
            self._restart(member, event)
        return True

    def check(self) -> None:
        """Give up sites that have been silent for too long, whose Lost arrives next. Start sites again."""
        now, before = time.monotonic(), self._checked
        self._checked = now
        for member in self.members:
            if now - before > FROZEN_SECONDS / 2:  # this process itself was stopped
                member.silent_by = now + FROZEN_SECONDS
            if member.gone:
                continue
            if now > member.silent_by:
                member.silent_by, member.was_silent = math.inf, True
                member.site.kill()
            if now > member.restart_at:
                member.site = member.place.new_site()
                self._start(member)

    def finish(self) -> None:
        """Say to all sites that are ready that there are no more lines; the others are not needed."""
        self._finishing = True
        for member in self.members:
            if member.ready:
                member.site.finish()
            else:
                self._dismiss(member)

    def progress(self) -> list[SiteProgress]:
        """The share of each site, if there are several or one has died."""
        found = [
            SiteProgress(
                member.place.name,
                member.done,
                member.tokens + member.stats.tokens,
                [*member.deaths],
                left_out=member.left_out,
            )
            for member in self.members
        ]
        return found if len(found) > 1 or found[0].deaths else []

    def close(self) -> None:
        """End all sites now."""
        for member in self.members:
            self._dismiss(member)

    def _dismiss(self, member: Member) -> None:
        member.gone, member.ready, member.stats = True, None, Stats()
        member.site.kill()

    def _start(self, member: Member) -> None:
        site = member.site

        def deliver(event: SiteEvent) -> None:
            with self._lock:
                self._sink(Arrived(member, site, event))

        member.silent_by, member.restart_at = time.monotonic() + member.place.grace, math.inf
        member.was_silent = False
        site.start(deliver)

    def _welcome(self, member: Member, ready: Ready) -> None:
        self.first = self.first or ready
        if difference := _difference(self.first, ready):
            hint = "Use --ctx." if self.first.n_ctx != ready.n_ctx else ""
            self._give_up(member, Failed(ExitCode.MODEL, difference, hint))
            return
        if member.place.is_named and not member.deaths:
            for remark in ready.remarks:
                self._say(f"{member.place.name}: {remark}")
        member.ready, member.failed_starts = ready, 0

    def _restart(self, member: Member, lost: Lost) -> None:
        reason = member.cause_of(lost)
        member.deaths.append(reason)
        did_start = member.ready is not None
        member.failed_starts += not did_start
        member.fruitless += 1
        member.ready, member.stats, member.silent_by = None, Stats(), math.inf
        if problem := self._hopeless(member):
            self._give_up(member, Failed(ExitCode.FAILED, f"{problem}: {reason}", lost.hint))
            return
        pauses = member.place.pauses
        pause = pauses[min(member.fruitless - 1 if lost.innocent else member.failed_starts, len(pauses) - 1)]
        when = f" in {pause:.0f} s" if pause > 1 else ""
        what = "died" if did_start else "did not start"
        self._say(f"{member.place.name} {what} ({reason}); restarting{when}.")
        member.restart_at = time.monotonic() + pause
        self.check()

    def _hopeless(self, member: Member) -> str:
        """Why a member is not started again; "" if it is."""
        who = "it" if len(self.members) > 1 or member.place.is_named else member.place.name
        if member.failed_starts >= len(member.place.pauses):
            return f"{who} did not start"
        if member.fruitless >= _MAX_FRUITLESS:
            return f"{who} died {member.fruitless} times without an answer"
        return ""

    def _give_up(self, member: Member, failed: Failed) -> None:
        self._dismiss(member)
        member.left_out = True
        member.deaths.append(failed.message)
        kind = _ERRORS.get(ExitCode(failed.exit_code), OssctlError)
        if len(self.members) > 1:
            hint = f". {failed.hint}" if failed.hint else ""
            self._say(f"{member.place.name} is left out: {failed.message}{hint}")
            if all(each.gone for each in self.members):
                raise kind(f"none of the {len(self.members)} engines is left")
            return
        prefix = f"{member.place.name}: " if member.place.is_named else ""
        raise kind(f"{prefix}{failed.message}", failed.hint)


def _difference(first: Ready, ready: Ready) -> str:
    """What makes two sites different, if anything does."""
    for what, ours, theirs in (
        ("ossctl", first.ossctl, ready.ossctl),
        ("llama-cpp-python", first.llama_cpp, ready.llama_cpp),
        ("the context", first.n_ctx, ready.n_ctx),
        ("the model", first.name, ready.name),
    ):
        if ours != theirs:
            return f"{what} is {theirs} there, and {ours} elsewhere"
    return "" if first.fingerprint == ready.fingerprint else "the model file is a different one"
