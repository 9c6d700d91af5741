"""The lines of an input through the engine into records.

A reader thread takes lines in, the engine's thread answers, and this one does the rest; they meet in one
queue. At most a bounded number of lines is between reading and writing, so memory does not grow with the
input.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter

from ossctl.app.batch.line_parser import Understanding
from ossctl.app.batch.prefix_queue import PrefixQueue
from ossctl.app.batch.records import ResultRecords
from ossctl.app.batch.reorder_spool import ReorderSpool
from ossctl.app.batch.resume import Finished, RecordState
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.batch.writer import AsTheyCome, InOrder, Writer
from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.generation import Generation
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import pose_choices
from ossctl.app.wire.chat_completions import Task, default_id
from ossctl.app.wire.lines import Line, asked_by
from ossctl.app.wire.reader import EndOfInput, Reader
from ossctl.app.wire.source import id_hash
from ossctl.engine.request import FinishReason
from ossctl.errors import OssctlError, OutputClosed, RequestError, TooManyFailures, UsageError
from ossctl.storage.journal import Journal

_IN_FLIGHT = 4  # lines a sequence: enough waiting ones to refill at once
_LEAST_IN_FLIGHT = 64  # and to find common beginnings among
_HELD = 1024  # lines that may wait for a slower one before them, in the input's order
_SUBMITTED = 2  # requests a sequence in the engine, the others wait in the window
_TICK_SECONDS = 0.2  # how often the watcher is called


@dataclass(frozen=True)
class Rules:
    """How a batch goes. More failed lines than `max_errors` are too many; None is never."""

    in_order: bool = False
    retry_failed: bool = False
    max_errors: int | None = None


@dataclass(frozen=True)
class Form:
    """How lines are read and records are made."""

    understanding: Understanding
    records: ResultRecords


@dataclass
class _Pending:
    """A line whose answers are on their way."""

    place: int
    line: Line
    task: Task
    choices: list[Generation]
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.choices)


_Arrival = Line | Generation | Exception | EndOfInput | None


class Batch:
    """One run over one input. `watch` is called often, with the same summary object."""

    def __init__(
        self,
        model: LoadedModel,
        form: Form,
        journal: Journal,
        watch: Callable[[BatchSummary], None],
        rules: Rules,
    ) -> None:
        self.summary = BatchSummary()
        self.ids = array("Q")  # hashes of the lines' ids, in the input's order
        self.out_of_place = False  # whether the journal has records twice, or not in the input's order
        self._model = model
        self._understanding = form.understanding
        self._records = form.records
        self._watch = watch
        self._rules = rules
        self._finished: Finished | None = None
        self._journal = journal
        self._arrivals: SimpleQueue[_Arrival] = SimpleQueue()
        self._window = PrefixQueue()
        self._pending: dict[str, _Pending] = {}  # by the ids of their generations
        self._submitted = 0
        self._ids_seen: set[int] | None = None
        self._input_error: OssctlError | None = None
        self._started = self._watched = monotonic()

    def run(
        self,
        lines: Iterator[Line],
        interrupt: Interrupt,
        finished: Finished | None = None,
        waiting: ReorderSpool | None = None,
        *,
        ids_are_unique: bool = False,
    ) -> BatchSummary:
        """Answer every one of `lines` that is not `finished`. They are read on a thread of their own.

        Unless `ids_are_unique`, a line with an id that was there before is an error. Raises Interrupted after
        a signal, TooManyFailures, UsageError if there was no request or the input broke off, OutputClosed,
        and OssctlError if the output cannot be written or the model fails. What was finished is written.
        """
        self._finished = finished
        interrupt.on_signal = lambda: self._arrivals.put(None)
        self._ids_seen = None if ids_are_unique else set()
        n_seq = self._model.runner.n_seq
        ahead = max(_LEAST_IN_FLIGHT, _IN_FLIGHT * n_seq)
        reader = Reader(lines, self._arrivals.put, max(ahead, _HELD) if self._rules.in_order else ahead)
        self._writer: Writer = AsTheyCome(self._journal, reader.done)
        if self._rules.in_order:
            self._writer = InOrder(AsTheyCome(self._journal, reader.done), waiting)
        reader.start()
        try:
            with EngineThread(self._model.runner, self._arrivals.put) as worker:
                self._answer_all(worker, interrupt, _SUBMITTED * n_seq)
        except OutputClosed:
            raise
        except OssctlError:
            if self._journal.resumable and not self._journal.broken:
                self._give_up()
            raise
        finally:
            self._tell(None)
        if self._input_error is not None:
            raise self._input_error
        if not self.summary.finished:
            raise UsageError("the input holds no requests", "It needs a JSON object a line.")
        return self.summary

    def _answer_all(self, worker: EngineThread, interrupt: Interrupt, most: int) -> None:
        reading = True
        while reading or self._pending:
            arrival = self._next_arrival()
            interrupt.check(self._what_is_kept())
            reading = self._handle(arrival) and reading
            while len(self._window) and self._submitted < most:
                for generation in self._window.take():
                    worker.submit(generation)
                    self._submitted += 1
            if monotonic() - self._watched >= _TICK_SECONDS:
                self._tell(worker)

    def _give_up(self) -> None:
        """What is held back for the sake of the order is finished all the same."""
        self.out_of_place = self.out_of_place or self._writer.held > 0
        self._writer.give_up()

    def _tell(self, worker: EngineThread | None) -> None:
        self._watched = monotonic()
        summary = self.summary
        summary.seconds = self._watched - self._started
        running = dict(worker.running()) if worker else {}
        known = {name: self._pending[name] for name in running if name in self._pending}
        summary.running = len(known)
        answering = [
            choice
            for name, pending in known.items()
            for choice in pending.choices
            if choice.request.id == name and choice.tokens
        ]
        summary.running_tokens = sum(choice.completion_tokens for choice in answering)
        summary.running_prompt_tokens = sum(len(choice.request.prompt) for choice in answering)
        slowest = max(known, key=lambda name: running[name], default=None)
        summary.slowest = (known[slowest].task.custom_id, running[slowest]) if slowest else None
        self._watch(summary)

    def _next_arrival(self) -> _Arrival:
        try:
            return self._arrivals.get(timeout=_TICK_SECONDS)
        except Empty:
            return None

    def _handle(self, arrival: _Arrival) -> bool:
        """Deal with one arrival; False when the input has ended."""
        if isinstance(arrival, Line):
            self._begin(arrival)
        elif isinstance(arrival, Generation):
            self._end(arrival)
        elif isinstance(arrival, Exception):
            raise arrival
        elif isinstance(arrival, EndOfInput):
            self._input_error = arrival.error
            return False
        return True

    def _begin(self, line: Line) -> None:
        place = len(self.ids)
        custom_id = self._understanding.id_of(line)
        self.ids.append(id_hash(custom_id))
        if self._ids_seen is not None:
            if self.ids[place] in self._ids_seen:
                again = RequestError(f"the id {custom_id[:80]!r} was there before", code="duplicate_id")
                self.ids[place] = id_hash(default_id(line))
                self._fail(place, line, default_id(line), asked_by(line), again)
                return
            self._ids_seen.add(self.ids[place])
        self._take_in(place, line, custom_id)

    def _take_in(self, place: int, line: Line, custom_id: str) -> None:
        try:
            task = self._understanding.task(line)
        except RequestError as error:
            if not self._is_finished(place, custom_id, asked_by(line)):
                self._fail(place, line, custom_id, asked_by(line), error)
            return
        if self._is_finished(place, custom_id, task.asked):
            return
        try:
            choices = pose_choices(self._model, task, task.n, str(line.number))
        except RequestError as error:
            self._fail(place, line, custom_id, task.asked, error)
            return
        pending = _Pending(place, line, task, choices)
        self._pending.update((generation.request.id, pending) for generation in choices)
        self._window.add(choices)

    def _is_finished(self, place: int, custom_id: str, asked: bytes) -> bool:
        """Whether the output has what is wanted of a request already; it is counted then."""
        if self._finished is None:
            return False
        state = self._finished.look_up(custom_id, self._records.id_of(custom_id, asked))
        waited = self._finished.waiting.pop(custom_id, None)
        if state is RecordState.DONE or (state is RecordState.FAILED and not self._rules.retry_failed):
            self.summary.skipped += 1
            self.summary.failed_before += state is RecordState.FAILED
            self._writer.put(place, waited)
            return True
        self.summary.changed += state is RecordState.CHANGED
        self.out_of_place = self.out_of_place or state is not RecordState.MISSING
        return False

    def _end(self, generation: Generation) -> None:
        pending = self._pending.pop(generation.request.id)
        self._submitted -= 1
        pending.left -= 1
        if pending.left:
            return
        task, line = pending.task, pending.line
        self.summary.count(pending.choices)
        error = _complaint(task, pending.choices)
        if error is not None:
            self._fail(pending.place, line, task.custom_id, task.asked, error)
            return
        self.summary.done += 1
        self.summary.cut_in_reasoning += any(choice.cut_in_reasoning for choice in pending.choices)
        self.summary.recovered += any(choice.recovered for choice in pending.choices)
        self._write(pending.place, lambda: self._records.answer(line, task, pending.choices))

    def _fail(self, place: int, line: Line, custom_id: str, asked: bytes, error: RequestError) -> None:
        self.summary.failed += 1
        self.summary.errors[error.code] += 1
        self._write(place, lambda: self._records.failure(line, custom_id, asked, error))
        most = self._rules.max_errors
        if most is not None and self.summary.failed > most:
            raise TooManyFailures(error.message, line.number, self.summary.failed, self._what_is_kept())

    def _write(self, place: int, make_record: Callable[[], bytes]) -> None:
        started = perf_counter()
        self._writer.put(place, make_record())
        self.summary.journal_seconds += perf_counter() - started

    def _what_is_kept(self) -> str:
        written = self.summary.done + self.summary.failed
        if not written:
            return "Nothing was written."
        kept = f"{written:,} {'result is' if written == 1 else 'results are'} in {self._journal.name}"
        return f"{kept}; --resume goes on." if self._journal.resumable else f"{kept}."


def _complaint(task: Task, choices: list[Generation]) -> RequestError | None:
    """Why a line has no answer, if it has none: one of its choices failed."""
    for number, choice in enumerate(choices, 1):
        error = choice.error or _unsatisfied(task, choice) or _circular(choice)
        if error is not None:
            which = f"choice {number} of {len(choices)}: " if len(choices) > 1 else ""
            return RequestError(f"{which}{error.message}", error.code)
    return None


def _unsatisfied(task: Task, generation: Generation) -> RequestError | None:
    """Half a JSON is no answer."""
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


def _circular(generation: Generation) -> RequestError | None:
    if generation.finish is not FinishReason.REPETITION:
        return None
    n_tokens = generation.completion_tokens
    return RequestError(f"the model repeated itself and was stopped after {n_tokens:,} tokens", "repetition")
