"""`--dry-run`: every line is checked against the loaded model, and how long all would take is estimated."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from ossctl.app.batch.prefix_queue import PrefixQueue
from ossctl.app.batch.records import ResultRecords
from ossctl.app.batch.resume import Finished, RecordState, read_back
from ossctl.app.batch.run import BatchJob, BatchModel, adapted, identity_of, workload_of
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, explain_crashes, load_model
from ossctl.app.inference.request import prepare_choices
from ossctl.app.wire.lines import Line, asked_by
from ossctl.app.wire.source import Survey
from ossctl.engine.engine import Engine
from ossctl.engine.request import Request
from ossctl.errors import ExitCode, RequestError
from ossctl.planning.plan import Plan
from ossctl.runtime.base import Runner, Tokens

_SHOWN = 20  # of the lines that are wrong
_PROMPT, _ANSWER = 128, 16  # tokens of a request that is measured
_NEIGHBOURS = 64  # lines among which common beginnings are looked for


@dataclass(frozen=True)
class Speed:
    """Measured with all sequences at work, in tokens a second."""

    prompt: float
    answer: float


@dataclass
class DryRun:
    """What a batch would do. Tokens are those of the lines that would be answered.

    Of `prompt_tokens`, `shared_tokens` begin a prompt as one near it does, and are computed once.
    `answer_tokens` is the most that answers may have; `unlimited` lines may use all the context.
    """

    valid: int = 0
    skipped: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    complaints: list[tuple[int, str]] = field(default_factory=list)  # the first ones: line, message
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
        """The most that answers may take."""
        return self.answer_tokens / self.speed.answer

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.SOME_FAILED if self.errors else ExitCode.DONE


def dry_run(job: BatchJob, survey: Survey | None, model: BatchModel, say: Callable[[str], None]) -> DryRun:
    """Load `model` and look at every line, without answering or writing any.

    Raises what `load_model` raises, UsageError, Interrupted.
    """
    finished = None
    if job.sink.resume and job.sink.path is not None and job.sink.path.exists():
        finished, _ = read_back(job.sink.path, flat=job.sink.flat)
    workload = workload_of(job, survey)
    explain_crashes("Nothing was written.")
    with Interrupt() as interrupt, load_model(model.path, model.options, workload, interrupt) as loaded:
        for remark in loaded.remarks:
            say(remark)
        records = ResultRecords(identity_of(model.path, loaded))
        checker = _Checker(loaded, job, records, finished)
        for line in job.source.picked(survey):
            interrupt.check("Nothing was started.")
            checker.check(line)
        return checker.result()


class _Checker:
    def __init__(
        self, model: LoadedModel, job: BatchJob, records: ResultRecords, finished: Finished | None
    ) -> None:
        self._model = model
        self._understanding = adapted(job.understanding, model)
        self._records = records
        self._finished = finished
        self._retry_failed = job.rules.retry_failed
        self._engine = Engine(model.runner)
        self._window = PrefixQueue()
        self._before: Tokens | None = None
        self._found = DryRun(plan=model.plan)

    def check(self, line: Line) -> None:
        try:
            task = self._understanding.task(line)
            if self._is_finished(line, task.asked):
                return
            choices = prepare_choices(self._model, task, task.n, str(line.number))
            for choice in choices:
                self._engine.check(choice.request)
        except RequestError as error:
            if not self._is_finished(line, asked_by(line)):
                self._complain(line, error)
            return
        self._found.valid += 1
        self._count(choices[0].request, task.n)
        self._found.unlimited += task.max_tokens is None
        self._window.add(choices)
        if len(self._window) > _NEIGHBOURS:
            self._compare()

    def result(self) -> DryRun:
        while len(self._window):
            self._compare()
        self._found.speed = measure(self._model.runner)
        return self._found

    def _is_finished(self, line: Line, asked: bytes) -> bool:
        if self._finished is None:
            return False
        custom_id = self._understanding.id_of(line)
        state = self._finished.look_up(custom_id, self._records.id_of(custom_id, asked))
        finished = state is RecordState.DONE or (state is RecordState.FAILED and not self._retry_failed)
        self._found.skipped += finished
        return finished

    def _complain(self, line: Line, error: RequestError) -> None:
        self._found.errors[error.code] += 1
        if len(self._found.complaints) < _SHOWN:
            self._found.complaints.append((line.number, error.message))

    def _count(self, request: Request, n: int) -> None:
        length = len(request.prompt)
        self._found.prompt_tokens += length
        self._found.longest_prompt = max(self._found.longest_prompt, length)
        room = self._model.runner.n_ctx_seq + 1 - length
        self._found.answer_tokens += n * min(request.max_tokens, room)

    def _compare(self) -> None:
        """How much of a prompt the one before it, in the order of answering, has computed."""
        prompt = self._window.take()[0].request.prompt
        if self._before is not None:
            shorter = min(len(self._before), len(prompt)) - 1
            same = self._before[:shorter] == prompt[:shorter]
            self._found.shared_tokens += shorter if same.all() else int(same.argmin())
        self._before = prompt


def measure(runner: Runner) -> Speed:
    """How fast the model is, from one short request a sequence."""
    engine = Engine(runner)
    length = max(1, min(_PROMPT, runner.n_ctx_seq - _ANSWER))
    random = np.random.default_rng(0)
    for number in range(runner.n_seq):
        prompt = random.integers(0, runner.n_vocab, length).astype(np.int32)
        engine.submit(Request(str(number), prompt, _ANSWER))
    started = perf_counter()
    while engine.stats.prompt_tokens < runner.n_seq * length:
        engine.step()
    prompted, drawn = perf_counter(), engine.stats.generated_tokens
    while engine.busy:
        engine.step()
    ended = perf_counter()
    return Speed(
        runner.n_seq * length / (prompted - started),
        (engine.stats.generated_tokens - drawn) / (ended - prompted),
    )
