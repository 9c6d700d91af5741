"""Runs the lines of an input through sites and writes their records."""

from collections.abc import Callable
from typing import Any

from ossctl.app.batch.line_runner import (
    IN_FLIGHT_PER_SEQUENCE,
    Arrival,
    Codec,
    LineRequest,
    LineRunner,
    Rules,
)
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.sites.counts import add_counts
from ossctl.app.sites.fleet import Arrived, Fleet, Member
from ossctl.app.sites.site import Done, Ended, Lost, Ready, SiteLine
from ossctl.app.sites.work import Waiting, Work
from ossctl.app.wire.lines import Line
from ossctl.errors import OssctlError, RequestError
from ossctl.storage.journal import Journal

_MAX_CRASHES = 3  # lines in a row that end their engine, before the engine is to blame
_DELIVERIES = 4  # in which a site gets the lines that it may have
_MIN_IN_FLIGHT = 64  # of the only site: enough to find common prefixes


class SiteRunner(LineRunner[Any]):
    """Runs a batch of lines that sites answer."""

    def __init__(
        self,
        fleet: Fleet,
        codec: Codec[Any],
        journal: Journal,
        watch: Callable[[BatchSummary], None],
        rules: Rules,
    ) -> None:
        super().__init__(codec, journal, watch, rules)
        self.n_seq, self.n_ctx = fleet.n_seq, fleet.n_ctx
        self._fleet = fleet
        self._work = Work()
        self._ended: set[Member] = set()
        self._crashes = 0

    def _answer_all(self, interrupt: Interrupt) -> None:
        self._fleet.deliver_to(self._arrivals.put)
        reading = True
        while reading or len(self._work):
            arrival = self._next_arrival()
            interrupt.check(self._resume_hint())
            reading = self._handle(arrival) and reading
            self._fleet.check()
            self._feed()
            self._report_if_due()
        self._fleet.finish()
        while any(member.ready and member not in self._ended for member in self._fleet.members):
            interrupt.check(self._resume_hint())
            self._handle(self._next_arrival())
            self._fleet.check()

    def _submit(self, index: int, line: Line, request: LineRequest) -> None:
        self._work.add(Waiting(index, line, request.request_key.failure))

    def _feed(self) -> None:
        alone = len(self._fleet.members) == 1
        ready = [member for member in self._fleet.members if member.ready]
        trusted = [member for member in ready if not member.fruitless] or ready
        for member in ready:
            most = IN_FLIGHT_PER_SEQUENCE * (member.ready.n_seq if member.ready else 0)
            most = max(most, _MIN_IN_FLIGHT) if alone else most
            if not self._is_worth_a_message(member, most):
                continue
            if taken := self._work.take(member, most, may_examine=member in trusted):
                member.site.submit([_site_line(waiting) for waiting in taken])

    def _is_worth_a_message(self, member: Member, most: int) -> bool:
        """Whether a site lacks lines, or can be given several: a message costs more than a line."""
        has = self._work.in_flight(member)
        return has <= most // 2 or min(most - has, self._work.waiting) >= most // _DELIVERIES

    def _handle(self, arrival: Arrival) -> bool:
        if not isinstance(arrival, Arrived):
            return super()._handle(arrival)
        member, event = arrival.member, arrival.event
        if isinstance(event, Done):
            self._finish(member, event)
        elif isinstance(event, Ended):
            self._ended.add(member)
        if member in self._ended:
            return True
        if isinstance(event, Lost) and arrival.site is member.site:
            self._lose(member, event)
        try:
            known = self._fleet.note(arrival)
        except OssctlError as error:
            error.hint = f"{error.hint} {self._resume_hint()}".strip()
            raise
        if known and isinstance(event, Ready):
            for _ in range(IN_FLIGHT_PER_SEQUENCE * event.n_seq if len(member.deaths) == 0 else 0):
                self._read_ahead()
        if member.gone:
            self._work.lose(member, innocent=True)
        return True

    def _finish(self, member: Member, done: Done) -> None:
        waiting = self._work.finish(done.index)
        if waiting is None:
            return  # another site was first
        self._crashes = 0
        member.has_finished(done.counts.sums.get("completion_tokens", 0))
        add_counts(self.summary, done.counts)
        error = RequestError(*reversed(done.counts.error)) if done.counts.error else None
        if error is not None:
            self.summary.add_error(error)
        self._write(done.index, lambda: done.record)
        if error is not None:
            self._limit_failures(waiting.line, error)

    def _lose(self, member: Member, lost: Lost) -> None:
        guilty = self._work.lose(member, innocent=lost.innocent)
        if guilty is None:
            return
        self._crashes += 1
        cause = member.cause_of(lost)
        error = RequestError(f"the engine died with this request each time: {cause}", "engine_crashed")
        self._fail(guilty.index, guilty.line, self._parser.id_of(guilty.line), guilty.failure_key, error)
        if self._crashes >= _MAX_CRASHES:
            raise OssctlError(
                f"the engine died with each of {self._crashes} requests: {cause}", self._resume_hint()
            )

    def _report_progress(self) -> None:
        all_stats = [member.stats for member in self._fleet.members]
        self.summary.running = sum(stats.running for stats in all_stats)
        self.summary.running_tokens = sum(stats.tokens for stats in all_stats)
        self.summary.running_prompt_tokens = sum(stats.prompt_tokens for stats in all_stats)
        self.summary.sites = self._fleet.progress()
        slowest = [stats.slowest for stats in all_stats if stats.slowest]
        self.summary.slowest = max(slowest, key=lambda each: each[1], default=None)
        super()._report_progress()


def _site_line(waiting: Waiting) -> SiteLine:
    line = waiting.line
    return SiteLine(waiting.index, line.number, line.data, line.fields)
