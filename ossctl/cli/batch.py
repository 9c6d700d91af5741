"""`ossctl batch` and `ossctl batch status`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ossctl.cli.batch_view import batch_progress, describe, dry_run_lines, status_lines
from ossctl.cli.command import command, redeclared
from ossctl.cli.format_options import FormatGroup
from ossctl.cli.input_options import CsvInputOption, TextInputOption, TsvInputOption, formats_of
from ossctl.cli.loading_options import CacheGroup, LoadingGroup
from ossctl.cli.offer import model_file
from ossctl.cli.options import (
    JsonOutput,
    ModelOption,
    SystemOption,
    TextOutput,
    VariablesOption,
    generation_options,
    seed_option,
    variables_of,
)
from ossctl.cli.output import Output
from ossctl.cli.template_options import TemplateGroup
from ossctl.cli.tool_options import ToolGroup
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ossctl.app.batch.job import BatchJob
    from ossctl.app.batch.options import BatchOptions
    from ossctl.app.batch.run import AnsweredBy, BatchModel
    from ossctl.app.inference.options import GenerationOptions
    from ossctl.app.tools.options import ToolOptions
    from ossctl.app.wire.source import Survey

_STREAM = Path("-")


def batch_options(
    *,
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Requests as .jsonl, .csv, .tsv or .txt; - is stdin.")
    ],
    sink: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Output file; - is stdout. Files named .gz or .zst are compressed, for IN as well.",
        ),
    ] = _STREAM,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue OUT and keep its finished answers.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume, run failed requests again.")
    ] = False,
    retry_cut: Annotated[
        bool,
        typer.Option(
            "--retry-cut",
            help="With --resume and a larger -n or --ctx, run requests again whose answer was truncated.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check every request, count tokens and estimate the time, without answering."
        ),
    ] = False,
    prompt: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--prompt",
            metavar="TEMPLATE|@FILE",
            help="Jinja template for prompts, filled with a record's fields: 'Summarise: {{ text }}'.",
        ),
    ] = None,
    variables: VariablesOption = None,
    text: TextInputOption = False,
    csv: CsvInputOption = False,
    tsv: TsvInputOption = False,
    assign_ids: Annotated[bool, typer.Option("--assign-ids", help="Use line numbers as ids.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Run only the first N requests.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample", metavar="N", min=1, help="Run a random sample of N requests; --seed fixes which."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Run shard I of N, such as 3/8, in a job array; ossctl batch join merges the outputs.",
        ),
    ] = None,
    order: Annotated[
        Literal["done", "input"],
        typer.Option("--order", help="Write answers as they finish, or in the order of IN."),
    ] = "done",
    flat: Annotated[
        bool,
        typer.Option("--flat", help="Write content, reasoning etc. at the top level of each record."),
    ] = False,
    keep_input: Annotated[
        bool, typer.Option("--keep-input", help='Copy the input record to "input".')
    ] = False,
    durable: Annotated[bool, typer.Option("--durable", help="fsync after every answer.")] = False,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="Batch-invariant decoding, on a CPU: answers do not depend on other requests. No "
            "shared prefixes.",
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a JSON summary to FILE at the end.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=0.001, help="Time limit per request."),
    ] = None,
    max_errors: Annotated[
        int | None,
        typer.Option("--max-errors", metavar="N", min=0, help="Stop after more than N failed requests."),
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failed request.")] = False,
    isolate: Annotated[
        bool,
        typer.Option("--isolate", help="Run the engine in a separate process, restarted if it crashes."),
    ] = False,
    engines: Annotated[
        str | None,
        typer.Option(
            "--engines",
            metavar="N|auto",
            help="Run N engines, which share out the GPUs or cores; auto is one per GPU or NUMA node.",
        ),
    ] = None,
    hosts: Annotated[
        str | None,
        typer.Option(
            "--hosts",
            metavar="HOST,…",
            help="Run an engine on each host over ssh. localhost is this machine; HOST:PATH sets the "
            "path of ossctl.",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="HOST:PORT|auto",
            help="Run on every node of a Ray cluster; auto is the cluster this machine belongs to.",
        ),
    ] = None,
    pull: Annotated[
        bool,
        typer.Option(
            "--pull", help="With --hosts or --cluster, fetch the model on machines that do not have it."
        ),
    ] = False,
) -> "BatchOptions":
    """What to read, how to write it, and what to do about failures."""
    from ossctl.app.batch.options import BatchOptions

    return BatchOptions(
        source,
        sink,
        prompt=prompt,
        variables=variables_of(context, variables, prompt),
        formats=formats_of(text=text, csv=csv, tsv=tsv),
        limit=limit,
        sample=sample,
        shard=shard,
        assign_ids=assign_ids,
        resume=resume,
        overwrite=overwrite,
        retry_failed=retry_failed,
        retry_cut=retry_cut,
        order=order,
        flat=flat,
        keep_input=keep_input,
        durable=durable,
        report=report,
        timeout=timeout,
        max_errors=max_errors,
        fail_fast=fail_fast,
        dry_run=dry_run,
        deterministic=deterministic,
        isolate=isolate,
        engines=engines,
        hosts=hosts,
        cluster=cluster,
        pull=pull,
    )


BatchGroup = Annotated["BatchOptions", batch_options]
_Seed = Annotated[int | None, seed_option("Base seed: line i uses seed N + i.  [default: 0]")]
BatchGenerationGroup = Annotated["GenerationOptions", redeclared(generation_options, seed=_Seed)]


@command
def batch(
    *,
    model: ModelOption = None,
    options: BatchGroup,
    system: SystemOption = "",
    formats: FormatGroup,
    generation: BatchGenerationGroup,
    template: TemplateGroup,
    tools: ToolGroup,
    loading: LoadingGroup,
    cache: CacheGroup,
    out: TextOutput,
) -> None:
    """Answer every request in a file, many in parallel.

    A line is an OpenAI Batch request, {"prompt": "…"} or {"messages": […]}, and a file may mix them. With
    --prompt, a line may be any record. Each answer is written as soon as it is complete, and --resume
    continues after an interruption. A failed request becomes an error record and the others continue; the
    exit code is then 3. Generation options apply to requests that do not set their own.
    """
    from ossctl.app.batch.run import BatchModel

    loading = replace(loading, cache_bytes=cache, template=template.template())
    generation = replace(generation, system=system, template_variables=template.values(), **formats)
    tools.refuse_unaskable(can_ask=False)
    job = replace(options, generation=generation, tools=tools).job()
    for note in job.rules.tools.notes():
        out.note(note)
    survey = job.prepare()
    if options.cluster is not None and not options.dry_run:
        with _cluster(options, model, tools, out) as answered_by:
            code = _run(job, survey, BatchModel(Path(model or ""), loading, answered_by), out)
        raise typer.Exit(code)
    here = options.hosts is None or options.dry_run
    path = model_file(model, loading, out) if here else Path(model or "")
    chosen = BatchModel(path, loading, _answered_by(model, options, tools, out))
    raise typer.Exit((_check if options.dry_run else _run)(job, survey, chosen, out))


def _answered_by(
    model: str | None, options: "BatchOptions", tools: "ToolOptions", out: Output
) -> "AnsweredBy | None":
    """Where the engines run; None for this process.

    llama.cpp ends a process whose workers are lost, so an engine that uses some has its own.
    """
    from ossctl.app.placement.workers import workers

    if options.hosts is not None:
        from ossctl.app.sites.hosts import host_places

        places = host_places(options.hosts, model, may_pull=options.pull)
    elif options.isolate or options.engines is not None or workers():
        from ossctl.app.sites.engines import engine_places

        places = engine_places(options.engines)
    else:
        return None
    from ossctl.app.sites.answerer import answered_by_sites

    return answered_by_sites(places, tools, out.warning, elsewhere=options.hosts is not None)


def _cluster(
    options: "BatchOptions", model: str | None, tools: "ToolOptions", out: Output
) -> "AbstractContextManager[AnsweredBy]":
    from ossctl.app.sites.cluster.answerer import Cluster, answered_by_cluster

    if model is None:
        raise UsageError("--cluster needs a model", "Add -m NAME, or -m with a path that all nodes share.")
    return answered_by_cluster(Cluster(options.cluster or "", options.pull), model, tools, out.warning)


def _run(job: "BatchJob", survey: "Survey | None", model: "BatchModel", out: Output) -> int:
    from ossctl.app.batch.run import run_batch

    total = None if survey is None else survey.count
    with batch_progress(total, out, to_stdout=job.sink.path is None) as progress:
        summary = run_batch(job, survey, model, progress.watch, out.warning)
    out.note(f"{describe(summary, total)} · {summary.seconds:,.1f} s")
    for line in summary.remarks():
        out.warning(line)
    return summary.result()


def _check(job: "BatchJob", survey: "Survey | None", model: "BatchModel", out: Output) -> int:
    from ossctl.app.batch.dry_run import dry_run

    found = dry_run(job, survey, model, out.warning)
    out.lines(dry_run_lines(found))
    return found.exit_code


def site() -> None:
    """Answer the lines of another process, over stdin and stdout."""
    from ossctl.app.sites.child import serve

    serve()


@command
def batch_status(
    *,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Output file of the batch.")],
    source: Annotated[
        Path | None, typer.Option("--of", metavar="IN", help="Its input file, to show how much is left.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="With --of, count the requests of this shard of IN."),
    ] = None,
    text: TextInputOption = False,
    csv: CsvInputOption = False,
    tsv: TsvInputOption = False,
    out: JsonOutput,
) -> None:
    """Show the progress of a batch, running or stopped."""
    from ossctl.app.batch.status import read_status
    from ossctl.app.wire.shard import Shard
    from ossctl.app.wire.source import Source, given_format

    part, given = None if shard is None else Shard.parse(shard), formats_of(text=text, csv=csv, tsv=tsv)
    if source is None and (part or given):
        option = "--shard" if part else f"--{given[0]}"
        raise UsageError(f"{option} needs --of", "Give the input file whose requests are counted.")
    status = read_status(output, Source(source, given_format(source, given), shard=part) if source else None)
    out.json(status.document())
    out.lines(status_lines(status))
