"""Turns the options of `ossctl batch` into a BatchJob."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ossctl.app.batch.job import BatchJob
from ossctl.app.batch.line_parser import Column, LineParser, Template
from ossctl.app.batch.line_runner import Rules
from ossctl.app.batch.sink import Sink
from ossctl.app.inference.options import GenerationOptions
from ossctl.app.inference.prompt_template import prompt_template
from ossctl.app.local_date import local_date
from ossctl.app.placement.workers import workers
from ossctl.app.tools.options import ToolOptions
from ossctl.app.user_text import output_file
from ossctl.app.wire.shard import Shard
from ossctl.app.wire.source import Format, Source, given_format
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
    shard: str | None = None
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
    hosts: str | None = None  # as `parse_hosts` reads them
    cluster: str | None = None
    pull: bool = False
    deterministic: bool = False
    tools: ToolOptions = field(default_factory=ToolOptions)

    def job(self) -> BatchJob:
        """Raises UsageError for options that contradict each other or are invalid."""
        for option, given in (("--retry-failed", self.retry_failed), ("--retry-cut", self.retry_cut)):
            if given and not self.resume:
                raise UsageError(f"{option} needs --resume")
        self._check_engines()
        kind, template = given_format(self.source, self.formats), self._template()
        tools = self.tools.toolbox()
        return BatchJob(
            Source(
                None if self.source == STREAM else self.source,
                kind,
                "prompt" if template is None and kind in (Format.CSV, Format.TSV) else "",
                self.limit,
                self.sample,
                self.generation.seed or 0,
                None if self.shard is None else Shard.parse(self.shard),
            ),
            Sink(
                output_file(self.sink),
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

    def _check_engines(self) -> None:
        """Raises UsageError unless there is at most one answer to where engines run."""
        where = {
            "--isolate": self.isolate and self.engines is None,
            "--engines": self.engines is not None,
            "--hosts": self.hosts is not None,
            "--cluster": self.cluster is not None,
        }
        given = [option for option, is_given in where.items() if is_given]
        if len(given) > 1:
            raise UsageError(f"{given[0]} and {given[1]} cannot be combined", "Use one of them.")
        if self.pull and self.hosts is None and self.cluster is None:
            raise UsageError(
                "--pull needs --hosts or --cluster", "`ossctl pull` fetches a model to this machine."
            )
        if workers() and given and given[0] in {"--hosts", "--cluster"}:
            raise UsageError(
                f"--rpc and {given[0]} cannot be combined: workers belong to the machine of the engine",
                "Set OSSCTL_RPC on the machines that use workers, and not here.",
            )

    def _template(self) -> Template | None:
        return None if self.prompt is None else prompt_template(self.prompt, self.variables)

    def _parser(self, kind: Format, template: Template | None, tools: tuple[Tool, ...]) -> LineParser:
        columns = {Format.TEXT: Column("text"), Format.CSV: Column("prompt"), Format.TSV: Column("prompt")}
        defaults = replace(self.generation.defaults(), today=local_date(), timeout=self.timeout, tools=tools)
        return LineParser(defaults, template or columns.get(kind), self.assign_ids)
