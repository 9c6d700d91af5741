"""Turns the options of `ossctl batch` into a BatchJob."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from ossctl.app.batch.line_parser import Column, LineParser, Template
from ossctl.app.batch.line_runner import Rules
from ossctl.app.batch.run import BatchJob, Sink
from ossctl.app.inference.options import GenerationOptions
from ossctl.app.inference.prompt_template import prompt_template
from ossctl.app.tools.options import ToolOptions
from ossctl.app.wire.source import Format, Source, format_of
from ossctl.dialect import Tool
from ossctl.errors import UsageError

STREAM = Path("-")


@dataclass(frozen=True)
class BatchOptions:
    """The options of the command line; the path `-` is stdin or stdout."""

    source: Path
    sink: Path = STREAM
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    prompt: str | None = None
    variables: Sequence[str] = ()
    formats: tuple[Format, ...] = ()
    limit: int | None = None
    sample: int | None = None
    assign_ids: bool = False
    resume: bool = False
    overwrite: bool = False
    retry_failed: bool = False
    retry_cut: bool = False
    order: Literal["done", "input"] = "done"
    flat: bool = False
    keep_input: bool = False
    durable: bool = False
    report: Path | None = None
    timeout: float | None = None
    max_errors: int | None = None
    fail_fast: bool = False
    dry_run: bool = False
    isolate: bool = False
    engines: str | None = None  # a number, or auto
    cluster: str | None = None
    pull: bool = False
    deterministic: bool = False
    tools: ToolOptions = field(default_factory=ToolOptions)

    def job(self) -> BatchJob:
        """Raises UsageError for options that contradict each other or are invalid."""
        for option, given in (("--retry-failed", self.retry_failed), ("--retry-cut", self.retry_cut)):
            if given and not self.resume:
                raise UsageError(f"{option} needs --resume")
        if self.pull and self.cluster is None:
            raise UsageError("--pull needs --cluster", "`ossctl pull` fetches a model for this machine.")
        for option, given in (("--isolate", self.isolate), ("--engines", self.engines is not None)):
            if given and self.cluster is not None:
                raise UsageError(f"{option} and --cluster exclude each other", "A node has one engine.")
        kind, template, tools = self._format(), self._template(), self.tools.toolbox()
        return BatchJob(
            Source(
                None if self.source == STREAM else self.source,
                kind,
                "prompt" if template is None and kind in (Format.CSV, Format.TSV) else "",
                self.limit,
                self.sample,
                self.generation.seed or 0,
            ),
            Sink(
                None if self.sink == STREAM else self.sink,
                overwrite=self.overwrite,
                resume=self.resume,
                durable=self.durable,
                flat=self.flat,
                keep_input=self.keep_input,
                report=self.report,
            ),
            self._parser(kind, template, tools.offered),
            Rules(
                in_order=self.order == "input",
                retry_failed=self.retry_failed,
                retry_cut=self.retry_cut,
                deterministic=self.deterministic,
                max_errors=0 if self.fail_fast else self.max_errors,
                tools=tools,
            ),
        )

    def _format(self) -> Format:
        if len(self.formats) > 1:
            raise UsageError(f"--{self.formats[0]} and --{self.formats[1]} cannot be combined")
        return self.formats[0] if self.formats else format_of(self.source)

    def _template(self) -> Template | None:
        return None if self.prompt is None else prompt_template(self.prompt, self.variables)

    def _parser(self, kind: Format, template: Template | None, tools: tuple[Tool, ...]) -> LineParser:
        columns = {Format.TEXT: Column("text"), Format.CSV: Column("prompt"), Format.TSV: Column("prompt")}
        today = datetime.now().astimezone().date()
        defaults = replace(self.generation.defaults(), today=today, timeout=self.timeout, tools=tools)
        return LineParser(defaults, template or columns.get(kind), self.assign_ids)
