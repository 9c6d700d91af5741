"""`ossctl batch`: a job, and how it runs from input file to output file."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ossctl.app.batch.embedding_runner import EmbeddingRunner
from ossctl.app.batch.finalize import finalize
from ossctl.app.batch.finished import FinishedRequests
from ossctl.app.batch.held_records import HeldRecords
from ossctl.app.batch.job import BatchJob
from ossctl.app.batch.line_parser import EmbeddingLineParser, LineParser
from ossctl.app.batch.line_runner import Codec, LineRunner
from ossctl.app.batch.records import ModelIdentity, ResultRecords
from ossctl.app.batch.report import report_at_end
from ossctl.app.batch.resume import Tail, read_back, resume_journal
from ossctl.app.batch.runner import BatchRunner
from ossctl.app.batch.site_notes import SiteNotes
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.determinism import check_deterministic, without_drafts
from ossctl.app.inference.embedding import LoadedEmbedder, is_embedding_model, load_embedder
from ossctl.app.inference.energy import EnergyMeter
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, LoadOptions, explain_crashes, load_model
from ossctl.app.inference.request import (
    check_schema,
    check_template_variables,
    check_tools,
    schema_remarks,
    supported_reasoning,
)
from ossctl.app.placement.fingerprint import fingerprint_of
from ossctl.app.placement.shapes import shards_of
from ossctl.app.wire.source import Survey
from ossctl.errors import OssctlError, UsageError
from ossctl.planning.workload import Purpose, Workload
from ossctl.settings import Paths
from ossctl.storage.journal import FilePolicy, Journal, OutputFile, stdout_journal

_SHARED_HINT = "Wait until it has finished, or give each shard an output of its own with -o."


@dataclass(frozen=True)
class BatchModel:
    """The model of a batch, a GGUF file, and how to load it.

    It is loaded in this process unless it is `answered_by` others.
    """

    path: Path
    options: LoadOptions
    answered_by: "AnsweredBy | None" = None

    def identity(self, loaded: LoadedModel | LoadedEmbedder) -> ModelIdentity:
        """What records are identified with: the model and, if it is not the model's own, its template."""
        template = self.options.template.text.encode() if self.options.template else b""
        return ModelIdentity(loaded.name, fingerprint_of(shards_of(self.path)) + template, loaded.piece)


def workload_of(job: BatchJob, survey: Survey | None) -> Workload:
    """The workload to plan memory for."""
    if survey is None or not survey.count or job.rules.deterministic:
        return Workload(Purpose.BATCH)  # the same kernels for any input
    prompt, answer = survey.sizes.likely_tokens(job.parser.defaults.max_tokens)
    return Workload(Purpose.BATCH, survey.count, prompt_tokens=prompt, answer_tokens=answer)


def run_batch(
    job: BatchJob,
    survey: Survey | None,
    model: BatchModel,
    watch: Callable[[BatchSummary], None],
    say: Callable[[str], None],
) -> BatchSummary:
    """Load `model` and answer the whole input; `say` prints remarks for the user.

    Raises as `load_model` and `BatchRunner.run` do.
    """
    explain_crashes(job.sink.crash_hint)
    with Interrupt() as interrupt, contextlib.ExitStack() as stack:
        output = _Output(job, stack)
        report = stack.enter_context(report_at_end(job, say))
        shard = job.source.shard
        if survey is not None and shard is not None and not survey.count:
            say(f"shard {shard} has no requests: there are fewer than {shard.number}.")
            output.clear()
            return report.summary
        loaded = stack.enter_context(
            (model.answered_by or answerer)(job, workload_of(job, survey), model, interrupt)
        )
        report.model = loaded.name
        for remark in (*loaded.remarks, *schema_remarks(job.parser.defaults.json_format)):
            say(remark)
        with output.journal() as journal:
            runner = loaded.runner(journal, _with_energy(output.notes.watched(watch), loaded))
            report.summary = runner.summary
            lines, surveyed = job.source.selected(survey), survey is not None
            try:
                with contextlib.closing(job.rules.tools):
                    runner.run(lines, interrupt, output.finished, output.spool, ids_are_unique=surveyed)
            except OssctlError:
                if not journal.broken:
                    output.finalize(journal, runner, complete=False)
                raise
            output.finalize(journal, runner, complete=True)
        if survey is not None and job.source.has_grown(survey):
            say(f"{job.source.name} has grown; use --resume to answer the new requests.")
        return runner.summary


MakeRunner = Callable[[Journal, Callable[[BatchSummary], None]], LineRunner[Any]]


@dataclass(frozen=True)
class Answerer:
    """A loaded model, and what runs lines through it.

    `parser` has the job's defaults as the model supports them. `fingerprint` is that of `ModelIdentity`.
    `devices` returns the names of those that are in use by now; they are `elsewhere` if not of this machine.
    """

    name: str
    remarks: tuple[str, ...]
    runner: MakeRunner
    parser: LineParser
    fingerprint: bytes
    devices: Callable[[], tuple[str, ...]] = tuple
    embeds: bool = False
    elsewhere: bool = False


AnsweredBy = Callable[
    [BatchJob, Workload, BatchModel, Interrupt], contextlib.AbstractContextManager[Answerer]
]


@contextlib.contextmanager
def answerer(
    job: BatchJob, workload: Workload, model: BatchModel, interrupt: Interrupt
) -> Iterator[Answerer]:
    """Load a model that embeds or one that generates. Raises as `load_model` does."""
    make: MakeRunner
    if is_embedding_model(model.path):
        if model.options.template is not None:
            raise UsageError("--template is for models that generate text", "Leave it out.")
        with load_embedder(model.path, model.options, interrupt) as embedder:
            parser, identity = replace(job.parser, model=embedder.name), model.identity(embedder)
            codec = Codec(EmbeddingLineParser(parser), records_of(job, identity))
            make = functools.partial(EmbeddingRunner, embedder, codec, rules=job.rules)
            yield Answerer(embedder.name, embedder.remarks, make, parser, identity.fingerprint, embeds=True)
        return
    options = without_drafts(model.options) if job.rules.deterministic else model.options
    with load_model(model.path, options, workload, interrupt) as loaded:
        if job.rules.deterministic:
            check_deterministic(loaded.plan)
        parser, identity = parser_for(job, loaded), model.identity(loaded)
        make = functools.partial(
            BatchRunner, loaded, Codec(parser, records_of(job, identity)), rules=job.rules
        )
        devices = loaded.plan.settings.devices if loaded.plan else ()
        yield Answerer(loaded.name, loaded.remarks, make, parser, identity.fingerprint, lambda: devices)


def records_of(job: BatchJob, identity: ModelIdentity) -> ResultRecords:
    return ResultRecords(identity, job.sink.flat, job.sink.keep_input, job.rules.deterministic)


def _with_energy(watch: Callable[[BatchSummary], None], loaded: Answerer) -> Callable[[BatchSummary], None]:
    """`watch`, preceded by a reading of the energy from now on, if all of it is of this machine."""
    if loaded.elsewhere:
        return watch
    meter = EnergyMeter.of_machine(loaded.devices())

    def watched(summary: BatchSummary) -> None:
        meter.add_boards(loaded.devices())
        summary.energy = meter.read()
        watch(summary)

    return watched


def parser_for(job: BatchJob, model: LoadedModel) -> LineParser:
    """The job's parser, with defaults of the model. Raises UsageError for options it does not support."""
    defaults = supported_reasoning(job.parser.defaults, model, job.parser.defaults.optional)
    check_template_variables(defaults.template_variables, model)
    check_schema(defaults.json_format, model)
    check_tools(defaults.tools, model)
    defaults = replace(defaults, effort=defaults.effort or model.dialect.default_effort)
    return replace(job.parser, defaults=defaults, model=model.name)


class _Output:
    """The output of a job, locked until `stack` is closed."""

    def __init__(self, job: BatchJob, stack: contextlib.ExitStack) -> None:
        """Lock the output and, to resume it, read it back. Raises UsageError."""
        sink = job.sink
        self._sink = sink
        self._in_order = job.rules.in_order
        self._takes_all = job.source.takes_all
        self._file: OutputFile | None = None
        self._tail: Tail | None = None
        self._stack = stack
        self.finished: FinishedRequests | None = None
        self.spool: HeldRecords | None = None
        self.notes = SiteNotes(sink.path if sink.is_file else None)
        if sink.path is None or not sink.is_file:
            return
        policy = FilePolicy(sink.path, sink.durable, Paths.from_environment().state / "rescued")
        if job.source.shard is not None:
            policy = replace(policy, locked_hint=_SHARED_HINT)
        self._file = stack.enter_context(OutputFile(policy, overwrite=sink.overwrite))
        self.notes.remove()
        stack.callback(self.notes.close)
        if sink.resume and sink.path.exists():
            self.finished, self._tail = read_back(sink.path, flat=sink.flat)

    def journal(self) -> Journal:
        """Open the output for appending. Raises UsageError, OssctlError."""
        path = self._sink.path
        if path is None:
            return stdout_journal()
        if self._file is None:
            return Journal(lambda: path.open("wb", buffering=0), str(path))
        earlier = self.finished.spooled if self.finished else {}
        self.spool = HeldRecords(path, earlier, durable=self._sink.durable)
        self._stack.callback(self.spool.close)
        return self._file.journal() if self._tail is None else resume_journal(self._file, self._tail)

    def clear(self) -> None:
        """With --overwrite, remove the old contents unless a line has replaced them. Raises OssctlError."""
        if self._file is not None:
            self._file.clear()

    def finalize(self, journal: Journal, runner: LineRunner[Any], *, complete: bool) -> None:
        """Close the journal and finalize the output; `complete` is whether the batch ran to its end."""
        for record in self.finished.spooled.values() if self.finished else ():
            journal.append(record)  # its line was not reached, or is gone
            runner.needs_finalizing = True
        journal.close()
        if self.spool is not None:
            self.spool.remove()
        if complete:
            self.notes.remove()
            self.clear()
        finished = self.finished
        if self._file is None or finished is None:
            return
        whole = complete and self._takes_all
        orphans = whole and finished.orphaned_failures() > 0
        if runner.needs_finalizing or finished.replaced or orphans or (complete and self._in_order):
            order = runner.ids if whole or (complete and self._in_order) else None
            finalize(self._file, order, input_is_complete=whole)
