"""Runs the lines of an input through the engine and writes their records.

A reader thread reads lines, the engine's thread generates, and the calling thread does everything else. Both
threads put what they have into one queue. The number of lines in flight is bounded, so memory does not grow
with the input.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter

from ossctl.app.batch.held_records import HeldRecords
from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.output_order import OrderedWriter, UnorderedWriter, Writer
from ossctl.app.batch.prefix_queue import PrefixQueue
from ossctl.app.batch.records import ResultRecords
from ossctl.app.batch.resume import FinishedRequests, RecordState
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import prepare_choices
from ossctl.app.inference.retries import retry_of
from ossctl.app.inference.schema_check import misfit_of
from ossctl.app.wire.chat_completions import Task, default_id
from ossctl.app.wire.lines import Line, raw_content
from ossctl.app.wire.reader import EndOfInput, Reader
from ossctl.app.wire.source import id_hash
from ossctl.engine.request import FinishReason
from ossctl.errors import OssctlError, OutputClosed, RequestError, TooManyFailures, UsageError
from ossctl.storage.journal import Journal

_IN_FLIGHT_PER_SEQUENCE = 4  # enough to refill a sequence at once
_MIN_IN_FLIGHT = 64  # enough to find common prefixes
_MIN_IN_FLIGHT_ORDERED = 1024  # with --order input, where finished lines wait for slower ones
_SUBMITTED_PER_SEQUENCE = 2  # the others wait in the prefix queue
_TICK_SECONDS = 0.2  # between reports of the progress


@dataclass(frozen=True)
class Rules:
    """How a batch runs. It stops when more than `max_errors` lines have failed, unless that is None."""

    in_order: bool = False
    retry_failed: bool = False
    max_errors: int | None = None


@dataclass(frozen=True)
class Codec:
    """Parses input lines and encodes output records."""

    parser: LineParser
    records: ResultRecords


@dataclass
class _Pending:
    """A line whose choices are being generated; `index` counts the lines of the input from 0."""

    index: int
    line: Line
    task: Task
    choices: list[Generation]
    unfinished: int = field(init=False)

    def __post_init__(self) -> None:
        self.unfinished = len(self.choices)


_Arrival = Line | Generation | Exception | EndOfInput | None


class BatchRunner:
    """Runs one batch. `watch` is called about five times a second, always with the same summary."""

    def __init__(
        self,
        model: LoadedModel,
        codec: Codec,
        journal: Journal,
        watch: Callable[[BatchSummary], None],
        rules: Rules,
    ) -> None:
        self.summary = BatchSummary()
        self.ids = array("Q")  # hashes of the lines' ids, in input order
        self.needs_finalizing = False  # the output has several records of an id, or is out of order
        self._model = model
        self._parser = codec.parser
        self._records = codec.records
        self._watch = watch
        self._rules = rules
        self._finished: FinishedRequests | None = None
        self._journal = journal
        self._arrivals: SimpleQueue[_Arrival] = SimpleQueue()
        self._queue = PrefixQueue()
        self._pending: dict[str, _Pending] = {}  # by generation id
        self._submitted = 0
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
        TooManyFailures, UsageError if there are no requests or the input cannot be read to its end,
        OutputClosed, and OssctlError if the output cannot be written or the model fails. Records finished by
        then are written.
        """
        self._finished = finished
        interrupt.on_signal = lambda: self._arrivals.put(None)
        self._ids_seen = None if ids_are_unique else set()
        n_seq = self._model.runner.n_seq
        in_order = self._rules.in_order
        least = _MIN_IN_FLIGHT_ORDERED if in_order else _MIN_IN_FLIGHT
        reader = Reader(lines, self._arrivals.put, max(least, _IN_FLIGHT_PER_SEQUENCE * n_seq))
        unordered = UnorderedWriter(self._journal, reader.done)
        self._writer: Writer = OrderedWriter(unordered, spool) if in_order else unordered
        reader.start()
        try:
            with EngineThread(self._model.runner, self._arrivals.put) as engine:
                self._answer_all(engine, interrupt, _SUBMITTED_PER_SEQUENCE * n_seq)
        except OutputClosed:
            raise
        except OssctlError:
            if self._journal.resumable and not self._journal.broken:
                self._flush()
            raise
        finally:
            self._report_progress(None)
        if self._input_error is not None:
            raise self._input_error
        if not self.summary.finished:
            raise UsageError("the input contains no requests", "Expected one JSON object per line.")
        return self.summary

    def _answer_all(self, engine: EngineThread, interrupt: Interrupt, max_submitted: int) -> None:
        reading = True
        while reading or self._pending:
            arrival = self._next_arrival()
            interrupt.check(self._resume_hint())
            reading = self._handle(arrival) and reading
            while len(self._queue) and self._submitted < max_submitted:
                for generation in self._queue.pop():
                    engine.submit(generation)
                    self._submitted += 1
            if monotonic() - self._watched >= _TICK_SECONDS:
                self._report_progress(engine)

    def _flush(self) -> None:
        """Write the records that wait for an earlier line, out of order."""
        self.needs_finalizing = self.needs_finalizing or self._writer.held > 0
        self._writer.flush()

    def _report_progress(self, engine: EngineThread | None) -> None:
        self._watched = monotonic()
        summary = self.summary
        summary.seconds = self._watched - self._started
        ages = dict(engine.running()) if engine else {}
        running = {name: self._pending[name] for name in ages if name in self._pending}
        summary.running = len(running)
        answering = [
            choice
            for name, pending in running.items()
            for choice in pending.choices
            if choice.request.id == name and choice.tokens
        ]
        summary.running_tokens = sum(choice.completion_tokens for choice in answering)
        summary.running_prompt_tokens = sum(len(choice.request.prompt) for choice in answering)
        slowest = max(running, key=lambda name: ages[name], default=None)
        summary.slowest = (running[slowest].task.custom_id, ages[slowest]) if slowest else None
        self._watch(summary)

    def _next_arrival(self) -> _Arrival:
        try:
            return self._arrivals.get(timeout=_TICK_SECONDS)
        except Empty:
            return None

    def _handle(self, arrival: _Arrival) -> bool:
        """Process one arrival; False at the end of the input."""
        if isinstance(arrival, Line):
            self._start(arrival)
        elif isinstance(arrival, Generation):
            self._finish(arrival)
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
            if not self._skip_finished(index, custom_id, raw_content(line)):
                self._fail(index, line, custom_id, raw_content(line), error)
            return
        if self._skip_finished(index, custom_id, task.request_key):
            return
        try:
            choices = prepare_choices(self._model, task, task.n, str(line.number))
        except RequestError as error:
            self._fail(index, line, custom_id, task.request_key, error)
            return
        pending = _Pending(index, line, task, choices)
        self._pending.update((generation.request.id, pending) for generation in choices)
        self._queue.push(choices)

    def _skip_finished(self, index: int, custom_id: str, request_key: bytes) -> bool:
        """Whether an earlier run finished this request; if so, it is counted as skipped."""
        if self._finished is None:
            return False
        state = self._finished.look_up(custom_id, self._records.id_of(custom_id, request_key))
        spooled = self._finished.spooled.pop(custom_id, None)
        if state is RecordState.DONE or (state is RecordState.FAILED and not self._rules.retry_failed):
            self.summary.skipped += 1
            self.summary.failed_before += state is RecordState.FAILED
            self._writer.put(index, spooled)
            return True
        self.summary.changed += state is RecordState.CHANGED
        self.needs_finalizing = self.needs_finalizing or state is not RecordState.MISSING
        return False

    def _finish(self, generation: Generation) -> None:
        pending = self._pending.pop(generation.request.id)
        self._submitted -= 1
        if (again := retry_of(self._model, pending.task, generation, step=pending.task.n)) is not None:
            pending.choices[pending.choices.index(generation)] = again
            self._pending[again.request.id] = pending
            self._queue.push([again])
            return
        pending.unfinished -= 1
        if pending.unfinished:
            return
        task, line = pending.task, pending.line
        self.summary.add(pending.choices)
        error = _error_of(task, pending.choices)
        if error is not None:
            self._fail(pending.index, line, task.custom_id, task.request_key, error)
            return
        self.summary.done += 1
        self.summary.cut_in_reasoning += any(choice.cut_in_reasoning for choice in pending.choices)
        self.summary.recovered += any(choice.recovered for choice in pending.choices)
        self.summary.retried += any(choice.attempts > 1 for choice in pending.choices)
        self._write(pending.index, lambda: self._records.answer(line, task, pending.choices))

    def _fail(self, index: int, line: Line, custom_id: str, request_key: bytes, error: RequestError) -> None:
        self.summary.add_error(error)
        self._write(index, lambda: self._records.failure(line, custom_id, request_key, error))
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
        saved = f"{written:,} {'result is' if written == 1 else 'results are'} in {self._journal.name}"
        return f"{saved}; use --resume to continue." if self._journal.resumable else f"{saved}."


def _error_of(task: Task, choices: list[Generation]) -> RequestError | None:
    """The first error among the choices, if any: one of them fails the whole line."""
    for number, choice in enumerate(choices, 1):
        error = choice.error or _incomplete_json(task, choice) or _repetition(choice)
        error = error or misfit_of(task.conversation, choice)
        if error is not None:
            which = f"choice {number} of {len(choices)}: " if len(choices) > 1 else ""
            return RequestError(f"{which}{error.message}", error.code)
    return None


def _incomplete_json(task: Task, generation: Generation) -> RequestError | None:
    conversation = task.conversation
    if conversation.json_format is None and conversation.tool_choice.mode != "required":
        return None
    how = {
        FinishReason.LENGTH: "reached its token limit",
        FinishReason.REPETITION: "repeated itself",
        FinishReason.STOP: "reached a stop string" if generation.stopped_by_string else None,
    }.get(generation.finish or FinishReason.STOP)
    if how is None:
        return None
    where = "in its reasoning" if generation.cut_in_reasoning else "before its JSON was complete"
    return RequestError(f"the answer {how} {where}", code="schema_unsatisfied")


def _repetition(generation: Generation) -> RequestError | None:
    if generation.finish is not FinishReason.REPETITION:
        return None
    n_tokens = generation.completion_tokens
    return RequestError(f"the model repeated itself and was stopped after {n_tokens:,} tokens", "repetition")
