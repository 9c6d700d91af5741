"""The site itself, in whatever process: loads the model and answers lines."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from time import perf_counter
from typing import BinaryIO

from ossctl import __version__
from ossctl.app.batch.job import BatchJob
from ossctl.app.batch.line_runner import Rules
from ossctl.app.batch.run import Answerer, answerer
from ossctl.app.batch.sink import Sink
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.sites.counts import counts_of
from ossctl.app.sites.find_model import find_model
from ossctl.app.sites.site import (
    BEAT_SECONDS,
    Beat,
    Done,
    Ended,
    Failed,
    FromSite,
    Left,
    Note,
    Ready,
    SiteJob,
    SiteLine,
    Stats,
)
from ossctl.app.tools.toolbox import Toolbox
from ossctl.app.wire.lines import Line
from ossctl.app.wire.source import Source
from ossctl.build import VERSION
from ossctl.errors import OssctlError
from ossctl.runtime.rpc import WorkerAbsent
from ossctl.storage.journal import Journal


class SiteWorker:
    """Answers the lines of one job with an engine of its own.

    `tell` is called from several threads, and must not block for long. It gets Ready, Failed or
    Left, Done for every line, Ended at the end, Stats and Beat meanwhile.
    """

    def __init__(self, job: SiteJob, tell: Callable[[FromSite], None]) -> None:
        self._job = job
        self._tell = tell
        self._inbox: SimpleQueue[SiteLine | None] = SimpleQueue()
        self._indices: dict[int, int] = {}  # of the open lines, by the order in which they were taken
        self._toolbox: Toolbox | None = None

    def submit(self, lines: Sequence[SiteLine]) -> None:
        """Have lines answered, from any thread."""
        for line in lines:
            self._inbox.put(line)

    def finish(self) -> None:
        """End when all lines are answered, from any thread."""
        self._inbox.put(None)

    def close(self) -> None:
        """End the programs of the tools, from any thread, before the process itself ends."""
        if self._toolbox is not None:
            self._toolbox.close()

    def run(self) -> None:
        """Load the model and answer lines until `finish`."""
        ended = Event()
        Thread(target=self._beat, args=(ended,), name="beat", daemon=True).start()
        try:
            self._answer()
        except WorkerAbsent as error:
            self._tell(Left(error.message, error.hint))
        except OssctlError as error:
            self._tell(Failed(int(error.exit_code), error.message, error.hint))
        else:
            self._tell(Ended())
        finally:
            ended.set()
            self.close()

    def _beat(self, ended: Event) -> None:
        while not ended.wait(BEAT_SECONDS):
            self._tell(Beat())

    def _answer(self) -> None:
        job, interrupt, started = self._job, Interrupt(), perf_counter()
        self._toolbox = dataclasses.replace(job.tools, tools=()).toolbox()
        batch = BatchJob(
            Source(None),
            Sink(None, flat=job.flat, keep_input=job.keep_input),
            job.parser,
            Rules(deterministic=job.deterministic, tools=self._toolbox),
        )
        model = dataclasses.replace(job.model, path=find_model(job, self._note))
        with answerer(batch, job.workload, model, interrupt) as loaded:
            runner = loaded.runner(Journal(_nowhere, "the site"), self._watch)
            self._tell(_ready(loaded, runner.n_seq, runner.n_ctx, perf_counter() - started))

            def give_back(number: int, record: bytes | None) -> None:
                counts, runner.summary = counts_of(runner.summary), BatchSummary()
                self._tell(Done(self._indices.pop(number), record or b"", counts))

            first = self._inbox.get()
            if first is not None:
                runner.give_back = give_back
                runner.run(self._lines(first), interrupt, ids_are_unique=True)

    def _note(self, text: str) -> None:
        self._tell(Note(text))

    def _lines(self, line: SiteLine | None) -> Iterator[Line]:
        for number in itertools.count():
            if line is None:
                return
            self._indices[number] = line.index
            yield Line(line.number, line.data, fields=line.fields)
            line = self._inbox.get()

    def _watch(self, summary: BatchSummary) -> None:
        self._tell(
            Stats(summary.running, summary.running_tokens, summary.running_prompt_tokens, summary.slowest)
        )


def _nowhere() -> BinaryIO:
    raise AssertionError("a site writes no file")


def _ready(loaded: Answerer, n_seq: int, n_ctx: int, seconds: float) -> Ready:
    defaults = loaded.parser.defaults
    return Ready(
        loaded.name,
        loaded.fingerprint,
        n_seq,
        n_ctx,
        __version__,
        VERSION,
        loaded.embeds,
        defaults.effort,
        defaults.max_reasoning_tokens,
        defaults.think,
        loaded.remarks,
        loaded.devices(),
        seconds,
    )
