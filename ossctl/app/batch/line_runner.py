"""Runs the lines of an input and writes their records, however they are answered.

A reader thread reads lines, and the calling thread does everything else; subclasses may have more threads.
All put what they have into one queue. The number of lines in flight is bounded, so memory does not grow with
the input.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter
from typing import Generic, Protocol, TypeVar

from ossctl.app.batch.finished import FinishedRequests, RecordState, wanted
from ossctl.app.batch.held_records import HeldRecords
from ossctl.app.batch.output_order import HandingBack, OrderedWriter, UnorderedWriter, Writer
from ossctl.app.batch.records import ResultRecords
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.tools.toolbox import Toolbox
from ossctl.app.tools.workers import Called
from ossctl.app.wire.chat_completions import default_id
from ossctl.app.wire.lines import Line, raw_content
from ossctl.app.wire.reader import EndOfInput, Reader
from ossctl.app.wire.request_key import RequestKey
from ossctl.app.wire.source import id_hash
from ossctl.errors import OssctlError, OutputClosed, RequestError, TooManyFailures
from ossctl.storage.journal import Journal

IN_FLIGHT_PER_SEQUENCE = 4  # enough to refill a sequence at once
_MIN_IN_FLIGHT = 64  # enough to find common prefixes
_MIN_IN_FLIGHT_ORDERED = 1024  # with --order input, where finished lines wait for slower ones
TICK_SECONDS = 0.2  # between reports of the progress


class Outside:
    """An arrival that only a subclass knows."""


Arrival = Line | Generation | Called | Outside | Exception | EndOfInput | None


@dataclass(frozen=True)
class Rules:
    """How a batch runs. It stops when more than `max_errors` lines have failed, unless that is None.

    If it is `deterministic`, an answer does not depend on the other requests. The calls of an answer to
    functions in `tools` are run, and their results continue it.
    """

    in_order: bool = False
    retry_failed: bool = False
    retry_cut: bool = False
    deterministic: bool = False
    max_errors: int | None = None
    tools: Toolbox = field(default_factory=Toolbox)

    def keeps(self, state: RecordState) -> bool:
        """Whether a resumed batch keeps a record of this state, and does not answer its request again."""
        match state:
            case RecordState.FAILED:
                return not self.retry_failed
            case RecordState.CUT:
                return not self.retry_cut
        return state is RecordState.DONE


class LineRequest(Protocol):
    """A parsed line. `request_key` identifies it."""

    @property
    def request_key(self) -> RequestKey: ...


_Request = TypeVar("_Request", bound=LineRequest)
_Parsed_co = TypeVar("_Parsed_co", bound=LineRequest, covariant=True)


class Parser(Protocol[_Parsed_co]):
    """Parses lines into requests, as `LineParser` does."""

    def id_of(self, line: Line) -> str: ...

    def parse(self, line: Line) -> _Parsed_co: ...


@dataclass(frozen=True)
class Codec(Generic[_Request]):
    """Parses input lines and encodes output records."""

    parser: Parser[_Request]
    records: ResultRecords


class LineRunner(ABC, Generic[_Request]):
    """Runs the lines of one batch that the output does not have yet. Subclasses answer them.

    `watch` is called about five times a second, always with the same summary.
    """

    n_seq: int  # requests that are answered together
    n_ctx: int  # tokens of a request and its answer

    def __init__(
        self,
        codec: Codec[_Request],
        journal: Journal,
        watch: Callable[[BatchSummary], None],
        rules: Rules,
    ) -> None:
        self.summary = BatchSummary()
        self.ids = array("Q")  # hashes of the lines' ids, in input order
        self.needs_finalizing = False  # the output has several records of an id, or is out of order
        self.give_back: Callable[[int, bytes | None], None] | None = None  # takes records for the journal
        self._parser = codec.parser
        self._records = codec.records
        self._watch = watch
        self._rules = rules
        self._finished: FinishedRequests | None = None
        self._journal = journal
        self._arrivals: SimpleQueue[Arrival] = SimpleQueue()
        self._ids_seen: set[int] | None = None
        self._input_error: OssctlError | None = None
        self._started = self._watched = monotonic()

    def run(
        self,
        lines: Iterator[Line],
        interrupt: Interrupt,
        finished: FinishedRequests | None = None,
        spool: HeldRecords | None = None,
        *,
        ids_are_unique: bool = False,
    ) -> BatchSummary:
        """Answer all `lines` that are not `finished`. They are read on another thread.

        Unless `ids_are_unique`, a line whose id has occurred before fails. Raises Interrupted after a signal,
        TooManyFailures, UsageError if the input cannot be read to its end, OutputClosed, and OssctlError if
        the output cannot be written or the model fails. Records finished by then are written.
        """
        self._finished = finished
        interrupt.on_signal = lambda: self._arrivals.put(None)
        self._ids_seen = None if ids_are_unique else set()
        in_order = self._rules.in_order
        least = _MIN_IN_FLIGHT_ORDERED if in_order else _MIN_IN_FLIGHT
        reader = Reader(lines, self._arrivals.put, max(least, IN_FLIGHT_PER_SEQUENCE * self.n_seq))
        unordered = UnorderedWriter(self._journal, reader.done)
        self._writer: Writer = OrderedWriter(unordered, spool) if in_order else unordered
        if self.give_back is not None:
            self._writer = HandingBack(self.give_back, reader.done)
        self._read_ahead = reader.done
        reader.start()
        try:
            self._answer_all(interrupt)
        except OutputClosed:
            raise
        except OssctlError:
            if self._journal.resumable and not self._journal.broken:
                self._flush()
            raise
        finally:
            self._report_progress()
        if self._input_error is not None:
            raise self._input_error
        return self.summary

    @abstractmethod
    def _answer_all(self, interrupt: Interrupt) -> None:
        """Handle arrivals until all lines are answered."""

    @abstractmethod
    def _submit(self, index: int, line: Line, request: _Request) -> None:
        """Have a request answered. Raises RequestError."""

    def _flush(self) -> None:
        """Write the records that wait for an earlier line, out of order."""
        self.needs_finalizing = self.needs_finalizing or self._writer.held > 0
        self._writer.flush()

    def _report_if_due(self) -> None:
        if monotonic() - self._watched >= TICK_SECONDS:
            self._report_progress()

    def _report_progress(self) -> None:
        self._watched = monotonic()
        self.summary.seconds = self._watched - self._started
        self._watch(self.summary)

    def _next_arrival(self, seconds: float = TICK_SECONDS) -> Arrival:
        try:
            return self._arrivals.get(timeout=seconds)
        except Empty:
            return None

    def _handle(self, arrival: Arrival) -> bool:
        """Process one arrival; False at the end of the input."""
        if isinstance(arrival, Line):
            self._start(arrival)
        elif isinstance(arrival, Exception):
            raise arrival
        elif isinstance(arrival, EndOfInput):
            self._input_error = arrival.error
            return False
        return True

    def _start(self, line: Line) -> None:
        index = len(self.ids)
        custom_id = self._parser.id_of(line)
        self.ids.append(id_hash(custom_id))
        if self._ids_seen is not None:
            if self.ids[index] in self._ids_seen:
                error = RequestError(f"duplicate id {custom_id[:80]!r}", code="duplicate_id")
                self.ids[index] = id_hash(default_id(line))
                self._fail(index, line, default_id(line), raw_content(line), error)
                return
            self._ids_seen.add(self.ids[index])
        self._enqueue(index, line, custom_id)

    def _enqueue(self, index: int, line: Line, custom_id: str) -> None:
        try:
            task = self._parser.parse(line)
        except RequestError as error:
            if not self._skip_finished(index, custom_id, RequestKey(raw=raw_content(line))):
                self._fail(index, line, custom_id, raw_content(line), error)
            return
        if self._skip_finished(index, custom_id, task.request_key):
            return
        try:
            self._submit(index, line, task)
        except RequestError as error:
            self._fail(index, line, custom_id, task.request_key.failure, error)

    def _skip_finished(self, index: int, custom_id: str, key: RequestKey) -> bool:
        """Whether an earlier run finished this request; if so, it is counted as skipped."""
        if self._finished is None:
            return False
        state = self._finished.look_up(custom_id, wanted(self._records, custom_id, key, self.n_ctx))
        spooled = self._finished.spooled.pop(custom_id, None)
        if self._rules.keeps(state):
            self.summary.skipped += 1
            self.summary.failed_before += state is RecordState.FAILED
            self.summary.cut_before += state is RecordState.CUT
            self._writer.put(index, spooled)
            return True
        if spooled is not None:
            self._journal.append(spooled)  # until the new record replaces it
        self.summary.changed += state is RecordState.CHANGED
        self.needs_finalizing = self.needs_finalizing or state is not RecordState.MISSING
        return False

    def _fail(self, index: int, line: Line, custom_id: str, request_key: bytes, error: RequestError) -> None:
        self.summary.add_error(error)
        self._write(index, lambda: self._records.failure(line, custom_id, request_key, error))
        self._limit_failures(line, error)

    def _limit_failures(self, line: Line, error: RequestError) -> None:
        limit = self._rules.max_errors
        if limit is not None and self.summary.failed > limit:
            raise TooManyFailures(error.message, line.number, self.summary.failed, self._resume_hint())

    def _write(self, index: int, encode: Callable[[], bytes]) -> None:
        started = perf_counter()
        self._writer.put(index, encode())
        self.summary.journal_seconds += perf_counter() - started

    def _resume_hint(self) -> str:
        written = self.summary.done + self.summary.failed
        if not written:
            return "Nothing was written."
        more = "" if self._finished is None else "more "  # than the output already had
        saved = f"{written:,} {more}{'result is' if written == 1 else 'results are'} in {self._journal.name}"
        return f"{saved}; use --resume to continue." if self._journal.resumable else f"{saved}."
