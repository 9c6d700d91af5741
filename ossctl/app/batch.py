"""`ossctl batch`: requests from a file through the engine into a file, each answer as it comes.

A reader thread takes lines in, the engine's thread answers, and this one does the rest; they meet in one
queue. At most a bounded number of lines is between reading and writing, so memory does not grow with
the input.
"""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from time import monotonic
from typing import BinaryIO

from ossctl.app.chat_completions import Task, answer_record, custom_id_of, error_record, read_task
from ossctl.app.conversation import Defaults
from ossctl.app.generation import Generation
from ossctl.app.interrupt import Interrupt
from ossctl.app.lines import Line, count_requests, open_input, read_lines
from ossctl.app.loading import LoadedModel, LoadOptions, load_model
from ossctl.app.question import pose, refuse_unsupported
from ossctl.app.worker import Worker
from ossctl.engine.request import FinishReason
from ossctl.errors import ExitCode, OssctlError, RequestError, UsageError
from ossctl.planning.goal import Goal, Use
from ossctl.storage.journal import Journal, refuse_existing

_IN_FLIGHT = 4  # lines a sequence: enough waiting ones to find common prefixes and refill at once
_TICK_SECONDS = 0.2  # how often the watcher is called when nothing happens


@dataclass(frozen=True)
class BatchFiles:
    """Where requests come from and answers go to; None is stdin and stdout."""

    source: Path | None
    sink: Path | None
    overwrite: bool = False

    def check(self) -> int | None:
        """Requests in the source, if it can tell. Raises UsageError for files that cannot serve."""
        total = None if self.source is None else _count(self.source)
        if self.sink is None:
            if sys.stdout is None:
                raise UsageError("standard output is closed", "Give -o a file.")
            return total
        if self.source is not None and _same_file(self.sink, self.source):
            raise UsageError(f"{self.sink} is the input", "Give -o another file.")
        refuse_existing(self.sink, overwrite=self.overwrite)
        return total

    def open_source(self) -> BinaryIO:
        """The input, to be closed by whoever reads it."""
        return open(0, "rb", closefd=False) if self.source is None else open_input(self.source)

    def open_sink(self) -> Journal:
        """The output, to be closed by the caller."""
        if self.sink is None:
            return Journal(lambda: open(1, "wb", buffering=0, closefd=False), "standard output")
        return Journal.create(self.sink, overwrite=self.overwrite)


def _count(path: Path) -> int | None:
    """Requests in `path`; None for a pipe or a device, where what is read is gone."""
    with contextlib.suppress(OSError):
        if path.exists() and not path.is_file() and not path.is_dir():
            return None
    return count_requests(path)


def _same_file(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return False


@dataclass
class BatchSummary:
    """What a batch has done so far: lines, tokens, seconds.

    Among the lines that are done, `cut_in_reasoning` have no answer because their tokens were spent, and of
    `recovered` the format was broken.
    """

    done: int = 0
    failed: int = 0
    cut_in_reasoning: int = 0
    recovered: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.SOME_FAILED if self.failed else ExitCode.DONE


@dataclass(frozen=True)
class _EndOfInput:
    error: OssctlError | None = None  # why it ended too early


_Arrival = Line | Generation | Exception | _EndOfInput | None


class Batch:
    """One run over one input. `watch` is called often, with the same summary object."""

    def __init__(
        self,
        model: LoadedModel,
        journal: Journal,
        watch: Callable[[BatchSummary], None],
        defaults: Defaults,
    ) -> None:
        self.summary = BatchSummary()
        self._defaults = replace(defaults, effort=defaults.effort or model.dialect.default_effort)
        self._model = model
        self._journal = journal
        self._watch = watch
        self._arrivals: SimpleQueue[_Arrival] = SimpleQueue()
        self._places = Semaphore(_IN_FLIGHT * model.runner.n_seq)
        self._tasks: dict[str, Task] = {}
        self._input_error: OssctlError | None = None
        self._started = monotonic()

    def run(self, source: BinaryIO, interrupt: Interrupt) -> BatchSummary:
        """Answer every line of `source`.

        Raises Interrupted after a signal, UsageError if there was no request, OutputClosed, and
        OssctlError if the output cannot be written or the model fails. What was written stays. The
        reader's thread closes `source`; it may be waiting for more when all else has ended.
        """
        interrupt.on_signal = lambda: self._arrivals.put(None)
        Thread(target=self._read, args=(source,), name="reader", daemon=True).start()
        with Worker(self._model.runner, self._arrivals.put) as worker:
            reading = True
            while reading or self._tasks:
                arrival = self._next_arrival()
                interrupt.check(self._what_is_kept())
                reading = self._handle(arrival, worker) and reading
                self.summary.seconds = monotonic() - self._started
                self._watch(self.summary)
        if self._input_error is not None:
            raise self._input_error
        if not self.summary.done + self.summary.failed:
            raise UsageError("the input holds no requests", "It needs a JSON object a line.")
        return self.summary

    def _read(self, source: BinaryIO) -> None:
        end = _EndOfInput()
        try:
            with source:
                for line in read_lines(source):
                    self._places.acquire()
                    self._arrivals.put(line)
        except OSError as error:
            message = f"cannot read the input any further: {error.strerror}"
            end = _EndOfInput(UsageError(message, "What was read before is answered."))
        except Exception as error:  # noqa: BLE001 (a bug: it must not vanish with the thread)
            self._arrivals.put(error)
        self._arrivals.put(end)

    def _next_arrival(self) -> _Arrival:
        try:
            return self._arrivals.get(timeout=_TICK_SECONDS)
        except Empty:
            return None

    def _handle(self, arrival: _Arrival, worker: Worker) -> bool:
        """Deal with one arrival; False when the input has ended."""
        if isinstance(arrival, Line):
            self._begin(arrival, worker)
        elif isinstance(arrival, Generation):
            self._end(arrival)
        elif isinstance(arrival, Exception):
            raise arrival
        elif isinstance(arrival, _EndOfInput):
            self._input_error = arrival.error
            return False
        return True

    def _begin(self, line: Line, worker: Worker) -> None:
        try:
            task = read_task(line, self._defaults)
            generation = pose(self._model, task, str(task.line))
        except RequestError as error:
            self._write_error(line.number, custom_id_of(line), error)
            return
        self._tasks[generation.request.id] = task
        worker.submit(generation)

    def _end(self, generation: Generation) -> None:
        task = self._tasks.pop(generation.request.id)
        self.summary.prompt_tokens += len(generation.request.prompt) if generation.tokens else 0
        self.summary.cached_tokens += generation.cached_tokens
        self.summary.completion_tokens += generation.completion_tokens
        error = generation.error or _unsatisfied(task, generation)
        if error is not None:
            self._write_error(task.line, task.custom_id, error)
            return
        self._journal.append(answer_record(task, generation, self._model.name, self._model.piece))
        self._places.release()
        self.summary.done += 1
        self.summary.cut_in_reasoning += generation.cut_in_reasoning
        self.summary.recovered += bool(generation.recovered)

    def _write_error(self, line: int, custom_id: str, error: RequestError) -> None:
        self._journal.append(error_record(line, custom_id, error))
        self._places.release()
        self.summary.failed += 1

    def _what_is_kept(self) -> str:
        finished = self.summary.done + self.summary.failed
        if not finished:
            return "Nothing was written."
        return f"{finished:,} {'result is' if finished == 1 else 'results are'} in {self._journal.name}."


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


@dataclass(frozen=True)
class BatchModel:
    """The model of a batch and how it is loaded; `requests` is how many there are, None if nobody knows."""

    path: Path
    options: LoadOptions
    requests: int | None = None


def run_batch(
    files: BatchFiles,
    model: BatchModel,
    watch: Callable[[BatchSummary], None],
    defaults: Defaults,
    say: Callable[[str], None],
) -> BatchSummary:
    """Load `model` and answer the whole input; `say` tells the user what is worth knowing of the load.

    Raises what `Batch.run` and `load_model` raise.
    """
    goal = Goal(Use.BATCH, model.requests)
    with (
        Interrupt() as interrupt,
        load_model(model.path, model.options, goal, interrupt) as loaded,
        files.open_sink() as journal,
    ):
        refuse_unsupported(defaults.effort, defaults.max_reasoning_tokens, loaded)
        for remark in loaded.remarks:
            say(remark)
        return Batch(loaded, journal, watch, defaults).run(files.open_source(), interrupt)
