"""`ossctl batch --dry-run`: checks every line against the loaded model and estimates the time for all."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from ossctl.app.batch.finished import FinishedRequests, wanted
from ossctl.app.batch.job import BatchJob
from ossctl.app.batch.records import ResultRecords
from ossctl.app.batch.resume import read_back
from ossctl.app.batch.run import BatchModel, parser_for, workload_of
from ossctl.app.inference.embedding import is_embedding_model
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, explain_crashes, load_model
from ossctl.app.inference.prefix_queue import PrefixQueue
from ossctl.app.inference.request import prepare_choices
from ossctl.app.wire.lines import Line, raw_content
from ossctl.app.wire.request_key import RequestKey
from ossctl.app.wire.source import Survey
from ossctl.engine.engine import Engine
from ossctl.engine.request import Request
from ossctl.errors import ExitCode, RequestError, UsageError
from ossctl.planning.plan import Plan
from ossctl.runtime.base import DecodeAborted, Runner, Tokens

_MAX_ERRORS_SHOWN = 20
_PROMPT, _ANSWER = 128, 16  # tokens of the requests that measure the speed
_HINT = "Nothing was written."
_QUEUED = 64  # requests that are sorted by prompt at a time


@dataclass(frozen=True)
class Speed:
    """Tokens per second, of all sequences together."""

    prompt: float
    answer: float


@dataclass
class DryRun:
    """The result of a dry run. Tokens are those of the `valid` lines, which a run would answer.

    `shared_tokens` are prompt tokens in a prefix shared with the previous prompt, which the cache holds
    already. `answer_tokens` is an upper bound; the answers of `unlimited` lines may fill the context.
    """

    valid: int = 0
    skipped: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    first_errors: list[tuple[int, str]] = field(default_factory=list)  # line numbers and messages
    prompt_tokens: int = 0
    shared_tokens: int = 0
    longest_prompt: int = 0
    answer_tokens: int = 0
    unlimited: int = 0
    speed: Speed = Speed(0, 0)
    plan: Plan | None = None

    @property
    def prompt_seconds(self) -> float:
        return (self.prompt_tokens - self.shared_tokens) / self.speed.prompt

    @property
    def answer_seconds(self) -> float:
        """An upper bound."""
        return self.answer_tokens / self.speed.answer

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.SOME_FAILED if self.errors else ExitCode.DONE


def dry_run(job: BatchJob, survey: Survey | None, model: BatchModel, say: Callable[[str], None]) -> DryRun:
    """Load `model` and check every line, without answering any. Raises as `load_model`, and UsageError."""
    finished = None
    if job.sink.resume and job.sink.path is not None and job.sink.path.exists():
        finished, _ = read_back(job.sink.path, flat=job.sink.flat)
    if is_embedding_model(model.path):
        raise UsageError(
            "--dry-run is for models that generate text", "Try a few lines with --limit instead."
        )
    workload = workload_of(job, survey)
    explain_crashes(_HINT)
    with Interrupt() as interrupt, load_model(model.path, model.options, workload, interrupt) as loaded:
        for remark in loaded.remarks:
            say(remark)
        checker = _Checker(loaded, job, ResultRecords(model.identity(loaded)), finished)
        for line in job.source.selected(survey):
            interrupt.check(_HINT)
            checker.check(line)
        result = checker.result()
        result.speed = measure_speed(loaded.runner, interrupt)
        return result


class _Checker:
    def __init__(
        self, model: LoadedModel, job: BatchJob, records: ResultRecords, finished: FinishedRequests | None
    ) -> None:
        self._model = model
        self._parser = parser_for(job, model)
        self._records = records
        self._finished = finished
        self._rules = job.rules
        self._engine = Engine(model.runner)
        self._queue = PrefixQueue()
        self._previous: Tokens | None = None
        self._result = DryRun(plan=model.plan)

    def check(self, line: Line) -> None:
        try:
            task = self._parser.parse(line)
            if self._is_finished(line, task.request_key):
                return
            choices = prepare_choices(self._model, task, task.n, str(line.number))
            for choice in choices:
                self._engine.check(choice.request)
        except RequestError as error:
            if not self._is_finished(line, RequestKey(raw=raw_content(line))):
                self._add_error(line, error)
            return
        self._result.valid += 1
        self._count(choices[0].request, task.n)
        self._result.unlimited += task.max_tokens is None
        self._queue.push(choices)
        if len(self._queue) > _QUEUED:
            self._count_shared()

    def result(self) -> DryRun:
        while len(self._queue):
            self._count_shared()
        return self._result

    def _is_finished(self, line: Line, key: RequestKey) -> bool:
        if self._finished is None:
            return False
        custom_id, n_ctx = self._parser.id_of(line), self._model.runner.n_ctx_seq
        state = self._finished.look_up(custom_id, wanted(self._records, custom_id, key, n_ctx))
        finished = self._rules.keeps(state)
        self._result.skipped += finished
        return finished

    def _add_error(self, line: Line, error: RequestError) -> None:
        self._result.errors[error.code] += 1
        if len(self._result.first_errors) < _MAX_ERRORS_SHOWN:
            self._result.first_errors.append((line.number, error.message))

    def _count(self, request: Request, n: int) -> None:
        length = len(request.prompt)
        self._result.prompt_tokens += length
        self._result.longest_prompt = max(self._result.longest_prompt, length)
        space = self._model.runner.n_ctx_seq + 1 - length
        self._result.answer_tokens += n * min(request.max_tokens, space)

    def _count_shared(self) -> None:
        """Take the next prompt from the queue and count the prefix that it shares with the previous one."""
        prompt = self._queue.pop()[0].request.prompt
        if self._previous is not None:
            length = min(len(self._previous), len(prompt)) - 1
            same = self._previous[:length] == prompt[:length]
            self._result.shared_tokens += length if same.all() else int(same.argmin())
        self._previous = prompt


def measure_speed(runner: Runner, interrupt: Interrupt) -> Speed:
    """Measure the model with one short request per sequence. Raises Interrupted."""
    engine = Engine(runner)
    length = max(1, min(_PROMPT, runner.n_ctx_seq - _ANSWER))
    random = np.random.default_rng(0)
    for number in range(runner.n_seq):
        prompt = random.integers(0, runner.n_vocab, length).astype(np.int32)
        engine.submit(Request(str(number), prompt, _ANSWER))
    n_prompt = runner.n_seq * length
    interrupt.on_signal = runner.abort  # a step of a large model takes seconds

    def step_while(unfinished: Callable[[], bool]) -> float:
        started = perf_counter()
        while unfinished():
            interrupt.check(_HINT)
            with suppress(DecodeAborted):
                engine.step()
        interrupt.check(_HINT)
        return perf_counter() - started

    prompt_seconds = step_while(lambda: engine.stats.prompt_tokens < n_prompt)
    generated = engine.stats.generated_tokens
    answer_seconds = step_while(lambda: engine.busy)
    return Speed(n_prompt / prompt_seconds, (engine.stats.generated_tokens - generated) / answer_seconds)
