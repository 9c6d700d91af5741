"""What the options of `ossctl batch` mean."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from ossctl.app.batch.line_parser import Column, Template, Understanding
from ossctl.app.batch.run import BatchJob, Sink
from ossctl.app.batch.runner import Rules
from ossctl.app.inference.options import GenerationOptions
from ossctl.app.user_text import text_of
from ossctl.app.wire.source import Format, Source, format_of
from ossctl.errors import UsageError
from ossctl.templates.prompt import PromptTemplate

STREAM = Path("-")


@dataclass(frozen=True)
class BatchOptions:
    """The options as they were given; what each means is in the command's help. `-` is a standard stream."""

    source: Path
    sink: Path = STREAM
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    prompt: str | None = None
    formats: tuple[Format, ...] = ()
    limit: int | None = None
    sample: int | None = None
    assign_ids: bool = False
    resume: bool = False
    overwrite: bool = False
    retry_failed: bool = False
    order: Literal["done", "input"] = "done"
    flat: bool = False
    keep_input: bool = False
    durable: bool = False
    report: Path | None = None
    timeout: float | None = None
    max_errors: int | None = None
    fail_fast: bool = False
    dry_run: bool = False

    def job(self) -> BatchJob:
        """The work that they describe. Raises UsageError."""
        if self.retry_failed and not self.resume:
            raise UsageError("--retry-failed is for --resume")
        kind, template = self._format(), self._template()
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
            self._understanding(kind, template),
            Rules(
                in_order=self.order == "input",
                retry_failed=self.retry_failed,
                max_errors=0 if self.fail_fast else self.max_errors,
            ),
        )

    def _format(self) -> Format:
        if len(self.formats) > 1:
            raise UsageError(f"--{self.formats[0]} and --{self.formats[1]} exclude each other")
        return self.formats[0] if self.formats else format_of(self.source)

    def _template(self) -> Template | None:
        if self.prompt is None:
            return None
        text = text_of(self.prompt)
        if not text.strip():
            raise UsageError("--prompt is an empty text")
        return PromptTemplate(text)

    def _understanding(self, kind: Format, template: Template | None) -> Understanding:
        plain = {Format.TEXT: Column("text"), Format.CSV: Column("prompt"), Format.TSV: Column("prompt")}
        today = datetime.now().astimezone().date()
        defaults = replace(self.generation.defaults(), today=today, timeout=self.timeout)
        return Understanding(defaults, template or plain.get(kind), self.assign_ids)
