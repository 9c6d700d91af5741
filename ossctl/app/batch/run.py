"""`ossctl batch`: what is asked for, and the whole of it from files to files."""

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from ossctl.app.batch.finalize import settle
from ossctl.app.batch.line_parser import Understanding
from ossctl.app.batch.records import ModelIdentity, ResultRecords
from ossctl.app.batch.reorder_spool import ReorderSpool
from ossctl.app.batch.resume import Finished, Torn, continue_at, read_back
from ossctl.app.batch.runner import Batch, Form, Rules
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, LoadOptions, explain_crashes, load_model
from ossctl.app.inference.request import check_schema, refuse_unsupported
from ossctl.app.library.fingerprint import fingerprint_of
from ossctl.app.placement.shapes import parts_of_file
from ossctl.app.wire.source import Source, Survey
from ossctl.errors import OssctlError, UsageError
from ossctl.planning.workload import Purpose, Workload
from ossctl.settings import Paths
from ossctl.storage.atomic import atomic_write
from ossctl.storage.journal import FilePolicy, Journal, OutputFile, check_output_path, stdout_journal

_STDIN, _STDOUT = 0, 1
REPORT_SCHEMA = "ossctl.batch-report/1"


@dataclass(frozen=True)
class Sink:
    """Where answers go and in which form; `path` None is stdout.

    What is there is an error, unless it is to be replaced (`overwrite`) or gone on with (`resume`).
    """

    path: Path | None
    overwrite: bool = False
    resume: bool = False
    durable: bool = False
    flat: bool = False
    keep_input: bool = False
    report: Path | None = None

    @property
    def is_file(self) -> bool:
        """A regular file, or none yet: not a pipe, a device or stdout, where nothing can be read back."""
        return self.path is not None and (self.path.is_file() or not self.path.exists())

    @property
    def saved(self) -> str:
        """What is not lost if the process ends, a sentence."""
        if not self.is_file:
            return "Answers that were written are complete."
        return f"What is finished is in {self.path}: --resume goes on."

    def check(self, source: Source) -> None:
        """Raise UsageError for files that cannot serve."""
        if self.resume and self.overwrite:
            raise UsageError("--resume and --overwrite exclude each other")
        if self.report is not None:
            check_output_path(self.report, overwrite=True)
            if any(path and _one_file(self.report, path) for path in (source.path, self.path)):
                raise UsageError(f"{self.report} is not to be replaced by a report", "Give --report another.")
        if _one_file(self.path or _STDOUT, source.path or _STDIN):
            raise UsageError(f"{self.path or 'standard output'} is the input", "Give -o another file.")
        if self.path is None:
            stdout_journal()
        else:
            check_output_path(self.path, overwrite=self.overwrite or self.resume)
        if self.resume and not self.is_file:
            raise UsageError("--resume needs an output that is a file", "Give -o the one to go on with.")


@dataclass(frozen=True)
class BatchJob:
    """All that a batch is, besides its model."""

    source: Source
    sink: Sink
    understanding: Understanding
    rules: Rules

    def prepare(self) -> Survey | None:
        """Look at the files before anything is loaded; None for an input that can be read only once.

        Raises UsageError.
        """
        self.sink.check(self.source)
        if self.source.can_be_read_twice:
            return self.source.survey(self.understanding.id_of)
        if self.source.sample is not None:
            raise UsageError("--sample needs an input that is a file", "A pipe can be read only once.")
        return None


@dataclass(frozen=True)
class BatchModel:
    """The model of a batch and how it is loaded."""

    path: Path
    options: LoadOptions


def workload_of(job: BatchJob, survey: Survey | None) -> Workload:
    """What a plan has to reckon with."""
    if survey is None:
        return Workload(Purpose.BATCH)
    reads, writes = survey.sizes.likely_tokens(job.understanding.defaults.max_tokens)
    return Workload(Purpose.BATCH, survey.count, reads=reads, writes=writes)


def run_batch(
    job: BatchJob,
    survey: Survey | None,
    model: BatchModel,
    watch: Callable[[BatchSummary], None],
    say: Callable[[str], None],
) -> BatchSummary:
    """Load `model` and answer the whole input; `say` tells the user what is worth knowing on the way.

    Raises what `Batch.run` and `load_model` raise.
    """
    explain_crashes(job.sink.saved)
    with Interrupt() as interrupt, contextlib.ExitStack() as parts:
        output = _Output(job, parts)
        loaded = parts.enter_context(
            load_model(model.path, model.options, workload_of(job, survey), interrupt)
        )
        for remark in loaded.remarks:
            say(remark)
        records = ResultRecords(identity_of(model.path, loaded), job.sink.flat, job.sink.keep_input)
        form = Form(adapted(job.understanding, loaded), records)
        with output.journal() as journal:
            batch = Batch(loaded, form, journal, watch, job.rules)
            lines, surveyed = job.source.picked(survey), survey is not None
            with _reported(job, batch.summary, loaded.name):
                try:
                    batch.run(lines, interrupt, output.finished, output.waiting, ids_are_unique=surveyed)
                except OssctlError:
                    if not journal.broken:
                        output.settle(journal, batch, complete=False)
                    raise
                output.settle(journal, batch, complete=True)
        if survey is not None and job.source.has_grown(survey):
            say(f"{job.source.name} has grown meanwhile: --resume answers what is new.")
        return batch.summary


def adapted(understanding: Understanding, model: LoadedModel) -> Understanding:
    """With the model's own effort for lines that name none. Raises UsageError for what it can't do."""
    defaults = understanding.defaults
    refuse_unsupported(defaults.effort, defaults.max_reasoning_tokens, model)
    check_schema(defaults.json_format, model)
    return replace(
        understanding,
        defaults=replace(defaults, effort=defaults.effort or model.dialect.default_effort),
    )


def identity_of(path: Path, model: LoadedModel) -> ModelIdentity:
    """Which model answers."""
    return ModelIdentity(model.name, fingerprint_of(parts_of_file(path)), model.piece)


class _Output:
    """The output of a job, locked from the beginning to the end."""

    def __init__(self, job: BatchJob, parts: contextlib.ExitStack) -> None:
        """Read back what is there. Raises UsageError."""
        sink = job.sink
        self._sink = sink
        self._in_order = job.rules.in_order
        self._takes_all = job.source.limit is None and job.source.sample is None
        self._file: OutputFile | None = None
        self._torn: Torn | None = None
        self._parts = parts
        self.finished: Finished | None = None
        self.waiting: ReorderSpool | None = None
        if sink.path is None or not sink.is_file:
            return
        keeping = FilePolicy(sink.path, sink.durable, Paths.from_environment().state / "rescued")
        self._file = parts.enter_context(OutputFile(keeping, overwrite=sink.overwrite))
        if sink.resume and sink.path.exists():
            self.finished, self._torn = read_back(sink.path, flat=sink.flat)

    def journal(self) -> Journal:
        """What appends to it. Raises UsageError, OssctlError."""
        path = self._sink.path
        if path is None:
            return stdout_journal()
        if self._file is None:
            return Journal(lambda: path.open("wb", buffering=0), str(path))
        before = self.finished.waiting if self.finished else {}
        self.waiting = ReorderSpool(path, before, durable=self._sink.durable)
        self._parts.callback(self.waiting.close)
        return self._file.journal() if self._torn is None else continue_at(self._file, self._torn)

    def settle(self, journal: Journal, batch: Batch, *, complete: bool) -> None:
        """Close the journal and leave each id once, and all in the input's order if that is wanted."""
        for record in self.finished.waiting.values() if self.finished else ():
            journal.append(record)  # its line did not come this time
            batch.out_of_place = True
        journal.close()
        if self.waiting is not None:
            self.waiting.remove()
        finished = self.finished
        if self._file is None or finished is None:
            return
        whole = complete and self._takes_all
        orphans = whole and finished.orphaned_failures() > 0
        if batch.out_of_place or finished.replaced or orphans or (complete and self._in_order):
            order = batch.ids if whole or (complete and self._in_order) else None
            settle(self._file, order, input_is_complete=whole)


@contextlib.contextmanager
def _reported(job: BatchJob, summary: BatchSummary, model: str) -> Any:
    """Write the report, however the batch ends."""
    ending = "broken off"
    try:
        yield
        ending = "complete"
    except OssctlError as error:
        ending = error.message or ending
        raise
    finally:
        if job.sink.report is not None:
            document = {
                "schema": REPORT_SCHEMA,
                "complete": ending == "complete",
                "ending": ending,
                "model": model,
                "input": job.source.name,
                "output": "standard output" if job.sink.path is None else str(job.sink.path),
                **summary.report(),
            }
            atomic_write(job.sink.report, msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def _one_file(a: Path | int, b: Path | int) -> bool:
    """Whether two paths or descriptors are one regular file; a terminal may be read and written."""
    try:
        one, other = (os.fstat(file) if isinstance(file, int) else file.stat() for file in (a, b))
    except OSError:
        return False
    return stat.S_ISREG(one.st_mode) and os.path.samestat(one, other)
