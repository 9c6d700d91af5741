"""`ossctl run --serve-stdin`: reads requests from stdin and writes events to stdout, as JSON lines.

A request has the short form of a batch, `{"id", "prompt" or "messages", …}`, and `{"cancel": id}` ends one.
The output starts with `{"ready": {…}}`. Each request then gets any number of `{"id", "delta"}`, pieces of the
answer and results of tools, and either `{"id", "done"}` or `{"id", "error"}`.
"""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import msgspec

from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.engine_thread import EngineThread
from ossctl.app.inference.finish import answer_finish
from ossctl.app.inference.generation import Generation, RunningTotals
from ossctl.app.inference.interrupt import Interrupt, next_of
from ossctl.app.inference.loading import LoadedModel, explain_crashes, load_model
from ossctl.app.inference.request import (
    GenerationSpec,
    check_template_variables,
    check_tools,
    prepare_generation,
    supported_reasoning,
)
from ossctl.app.inference.retries import retry_of
from ossctl.app.inference.schema_check import incomplete, misfit_of
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.run.run import answer_fields
from ossctl.app.tools.rounds import fitting, next_round, totals_after
from ossctl.app.tools.toolbox import Toolbox
from ossctl.app.tools.workers import Called, ToolWorkers
from ossctl.app.user_text import check_stdin
from ossctl.app.wire.chat_completions import Task, custom_id_of, parse_task, read_record
from ossctl.app.wire.lines import Line
from ossctl.app.wire.reader import EndOfInput, Reader
from ossctl.app.wire.source import Source
from ossctl.dialect import Answer, Event, Preamble, Reasoning
from ossctl.engine.request import FinishReason
from ossctl.errors import RequestError
from ossctl.planning.workload import Purpose, Workload
from ossctl.storage.journal import Journal, stdout_journal

_OTHER_WORDS = "…"  # a last message that is not sent
_MAX_UNANSWERED = 4096  # requests in flight: a client that sends more is blocked


@dataclass(frozen=True)
class _Prepared:
    """A request that is ready for the engine, or why it cannot be answered."""

    task: Task
    result: Generation | RequestError


_Arrival = Line | _Prepared | tuple[str, Event] | Generation | Called | Exception | EndOfInput | None


class LineServer:
    """Answers the requests of one stream in parallel.

    A thread of its own tokenizes prompts, so that a long one does not delay the events of other requests.
    """

    def __init__(self, model: LoadedModel, sink: Journal, defaults: Defaults, tools: Toolbox) -> None:
        self._model = model
        self._sink = sink
        self._defaults = defaults
        self._arrivals: SimpleQueue[_Arrival] = SimpleQueue()
        self._unanswered: dict[str, Task] = {}  # by id
        self._cancelled: set[str] = set()  # ids of requests that the engine did not have
        self._preparing: set[str] = set()  # ids
        self._streamed: set[str] = set()  # ids
        self._after_preamble: set[str] = set()  # ids
        self._specs: dict[str, GenerationSpec] = {}  # by id, of requests with results of tools
        self._tools = ToolWorkers(tools, self._arrivals.put)
        self._preparer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")

    def run(self, lines: Iterator[Line], interrupt: Interrupt) -> None:
        """Answer all `lines`.

        Raises Interrupted, OutputClosed, UsageError if the input cannot be read to its end, and OssctlError
        if the output cannot be written or the model fails.
        """
        interrupt.on_signal = lambda: self._arrivals.put(None)
        model, runner = self._model, self._model.runner
        ready = {"model": self._model.name, "parallel": runner.n_seq, "context": runner.n_ctx_seq}
        self._sink.append(msgspec.json.encode({"ready": ready}))
        self._reader = Reader(lines, self._arrivals.put, _MAX_UNANSWERED)
        self._reader.start()
        with (
            self._preparing_thread(),
            EngineThread(runner, self._arrivals.put, model.disk, drafts=model.drafts) as engine,
            contextlib.closing(self._tools),
        ):
            reading, error = True, None
            while reading or self._unanswered:
                arrivals = list(self._next_arrivals())
                interrupt.check()
                for end in (arrival for arrival in arrivals if isinstance(arrival, EndOfInput)):
                    reading, error = False, end.error
                events = [event for arrival in arrivals for event in self._events(arrival, engine)]
                if events:
                    self._sink.append(b"\n".join(map(msgspec.json.encode, events)))
        if error is not None:
            raise error

    @contextlib.contextmanager
    def _preparing_thread(self) -> Iterator[None]:
        """End the preparer's thread, without the requests that are queued for it."""
        try:
            yield
        finally:
            self._preparer.shutdown(cancel_futures=True)

    def _next_arrivals(self) -> Iterator[_Arrival]:
        """Wait for an arrival; yield it and all others that are in the queue."""
        yield next_of(self._arrivals)
        with contextlib.suppress(Empty):
            while True:
                yield self._arrivals.get_nowait()

    def _events(self, arrival: _Arrival, engine: EngineThread) -> Iterator[dict[str, Any]]:
        if isinstance(arrival, Exception):
            raise arrival
        if isinstance(arrival, Line):
            yield from self._accept(arrival, engine)
        elif isinstance(arrival, _Prepared):
            yield from self._submit(arrival, engine)
        elif isinstance(arrival, Generation):
            yield from self._finish(arrival, engine)
        elif isinstance(arrival, Called):
            yield from self._continue(arrival)
        elif isinstance(arrival, tuple):
            yield from self._delta(*arrival)

    def _accept(self, line: Line, engine: EngineThread) -> Iterator[dict[str, Any]]:
        try:
            record = read_record(line)
            if "cancel" in record:
                self._cancel(record, engine)
                self._reader.done()
            else:
                self._start(record, line)
        except RequestError as error:
            self._reader.done()
            yield _error(custom_id_of(line), error, line.number)

    def _start(self, record: dict[str, Any], line: Line) -> None:
        streams = record.pop("stream", True)
        if not isinstance(streams, bool):
            raise RequestError("stream must be true or false")
        task = _persistent(parse_task(record, line, self._defaults))
        unsupported = {"n": task.n > 1, "logprobs": task.sampling.logprobs is not None}
        for name in (name for name, given in unsupported.items() if given):
            raise RequestError(f"{name} is not supported with --serve-stdin")
        if task.custom_id in self._unanswered:
            raise RequestError(f"id: {task.custom_id[:80]!r} is still being answered")
        self._unanswered[task.custom_id] = task
        self._preparing.add(task.custom_id)
        if streams:
            self._streamed.add(task.custom_id)
        self._preparer.submit(self._prepare, task, task, RunningTotals(), streams=streams)

    def _prepare(self, task: Task, spec: GenerationSpec, earlier: RunningTotals, *, streams: bool) -> None:
        """Render and tokenize a request, on the preparer's thread. `spec` is what to answer now."""
        watch = (lambda event: self._arrivals.put((task.custom_id, event))) if streams else None
        try:
            generation = prepare_generation(self._model, spec, task.custom_id, watch)
            generation.earlier = earlier
            self._arrivals.put(_Prepared(task, generation))
        except RequestError as error:
            self._arrivals.put(_Prepared(task, error))
        except Exception as error:  # noqa: BLE001 (a bug: don't lose it with the thread)
            self._arrivals.put(error)

    def _submit(self, prepared: _Prepared, engine: EngineThread) -> Iterator[dict[str, Any]]:
        request_id = prepared.task.custom_id
        self._preparing.discard(request_id)
        if isinstance(prepared.result, RequestError):
            self._forget(request_id)
            yield _error(request_id, prepared.result, prepared.task.line)
            return
        engine.submit(prepared.result)
        if request_id in self._cancelled:
            engine.cancel(request_id)

    def _cancel(self, record: dict[str, Any], engine: EngineThread) -> None:
        """Cancel a request. An unknown id is ignored, because the answer may have been on its way."""
        if len(record) > 1:
            raise RequestError("a line with cancel must have no other fields")
        request_id = str(record["cancel"])
        if request_id in self._preparing:
            self._cancelled.add(request_id)
        self._tools.stop(request_id)
        engine.cancel(request_id)

    def _spec(self, request_id: str) -> GenerationSpec:
        """What a request answers now."""
        return self._specs.get(request_id, self._unanswered[request_id])

    def _forget(self, request_id: str) -> None:
        """Release the id of an answered request, and let the reader continue."""
        self._reader.done()
        self._streamed.discard(request_id)
        self._after_preamble.discard(request_id)
        self._cancelled.discard(request_id)
        self._specs.pop(request_id, None)
        self._tools.end(request_id)
        del self._unanswered[request_id]

    def _delta(self, request_id: str, event: Event) -> Iterator[dict[str, Any]]:
        match event:
            case Reasoning(text):
                yield {"id": request_id, "delta": {"reasoning": text}}
            case Preamble(text):
                self._after_preamble.add(request_id)
                yield {"id": request_id, "delta": {"answer": text}}
            case Answer(text):
                if request_id in self._after_preamble:  # as in `Generation.content`
                    self._after_preamble.discard(request_id)
                    text = f"\n\n{text}"
                yield {"id": request_id, "delta": {"answer": text}}

    def _finish(self, generation: Generation, engine: EngineThread) -> Iterator[dict[str, Any]]:
        """End a request, or sample it again if it does not fit its schema and nothing of it was sent."""
        request_id = generation.request.id
        if request_id not in self._streamed:
            again = retry_of(self._model, self._spec(request_id), generation)
            if again is not None:
                engine.submit(again)
                return
        tools = self._unanswered[request_id].conversation.tools
        if generation.error is None and self._tools.submit(request_id, generation, tools):
            return
        yield self._done(request_id, generation)

    def _continue(self, called: Called) -> Iterator[dict[str, Any]]:
        """Send the results of calls, and generate the next answer with them, unless it was cancelled."""
        generation = called.generation
        request_id = generation.request.id
        task, rounds = self._unanswered[request_id], self._tools.received(request_id)
        spec = self._spec(request_id)
        outcomes = fitting(self._model, spec, generation, called.outcomes)
        earlier = totals_after(generation, outcomes)
        if request_id in self._streamed:
            results = earlier.tool_results[-len(outcomes) :]
            yield from ({"id": request_id, "delta": {"tool_result": result}} for result in results)
        if rounds.stopped:
            generation.finish = FinishReason.CANCELLED
            generation.earlier = replace(generation.earlier, tool_results=earlier.tool_results)
            yield self._done(request_id, generation)
            return
        spec = next_round(spec, generation, outcomes, may_call=rounds.may_call)
        self._specs[request_id] = spec
        self._preparing.add(request_id)
        streams = request_id in self._streamed
        self._preparer.submit(self._prepare, task, spec, earlier, streams=streams)

    def _done(self, request_id: str, generation: Generation) -> dict[str, Any]:
        conversation = self._spec(request_id).conversation
        error = generation.error or misfit_of(conversation, generation)
        if generation.stopped_by_string:  # the other ways in which it is incomplete have a `finish_reason`
            error = error or incomplete(conversation, generation)
        self._forget(request_id)
        if error is not None:
            return _error(request_id, error)
        fields = answer_fields(generation, answer_finish(generation))
        return {"id": request_id, "done": {**fields, "seed": generation.request.sampling.seed}}


def serve(
    model: Path, options: LoadOptions, defaults: Defaults, tools: Toolbox, say: Callable[[str], None]
) -> None:
    """Load `model` and answer the requests on stdin; `say` prints remarks for the user.

    Raises as `load_model` and `LineServer.run` do.
    """
    check_stdin()
    explain_crashes("All answers sent so far are complete.")
    with (
        Interrupt() as interrupt,
        contextlib.closing(tools),
        load_model(model, options, Workload(Purpose.BATCH), interrupt) as loaded,
        stdout_journal() as sink,
    ):
        for remark in loaded.remarks:
            say(remark)
        defaults = supported_reasoning(defaults, loaded, defaults.optional)
        check_template_variables(defaults.template_variables, loaded)
        check_tools(defaults.tools, loaded)
        LineServer(loaded, sink, defaults, tools).run(Source(None).lines(), interrupt)


def _persistent(task: Task) -> Task:
    """The task, whose prompt is written to disk; other questions are expected after the same messages."""
    conversation = task.conversation
    another = replace(conversation.messages[-1], content=_OTHER_WORDS)
    return replace(
        task,
        similar=replace(conversation, messages=(*conversation.messages[:-1], another)),
        persist=True,
    )


def _error(request_id: str, error: RequestError, line: int | None = None) -> dict[str, Any]:
    details: dict[str, Any] = {"code": error.code, "message": error.message}
    if line is not None:
        details["line"] = line
    return {"id": request_id, "error": details}
