"""`ossctl batch` and `ossctl batch status`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ossctl.cli.batch_view import batch_progress, describe, dry_run_lines, status_lines
from ossctl.cli.offer import choose_model
from ossctl.cli.options import (
    CpuMoeOption,
    CtxOption,
    DateOption,
    DeviceOption,
    EffortOption,
    GpuLayersOption,
    JsonOption,
    KvOption,
    MaxReasoningTokensOption,
    MaxTokensOption,
    MinPOption,
    ModelOption,
    ParallelOption,
    SchemaOption,
    StopOption,
    SystemOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
    UbatchOption,
    VerboseOption,
)
from ossctl.cli.output import named, print_json, put, say, show_log

if TYPE_CHECKING:
    from ossctl.app.batch.run import BatchJob, BatchModel
    from ossctl.app.wire.source import Survey

_STREAM = Path("-")
_INPUT, _OUTPUT, _FAILURES = "Input", "Output", "Failures"


def batch(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A file of requests, .jsonl, .csv, .tsv or .txt; - is stdin."),
    ],
    sink: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Where the answers go; - is stdout. A .gz or .zst is compressed, as IN may be.",
        ),
    ] = _STREAM,
    model: ModelOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with OUT: what is finished in it stays.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume, run what failed again.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check every line, count tokens, estimate the time; answer nothing."),
    ] = False,
    prompt: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--prompt",
            metavar="TEMPLATE|@FILE",
            help="Make each prompt of a record's fields, as 'Summarise: {{ text }}' (Jinja).",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Each line of IN is a prompt.", rich_help_panel=_INPUT)
    ] = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="IN is a table with commas.", rich_help_panel=_INPUT)
    ] = False,
    tsv: Annotated[
        bool, typer.Option("--tsv", help="IN is a table with tabs.", rich_help_panel=_INPUT)
    ] = False,
    assign_ids: Annotated[
        bool,
        typer.Option("--assign-ids", help="Lines have their numbers as ids.", rich_help_panel=_INPUT),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="The first so many requests.", rich_help_panel=_INPUT
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            metavar="N",
            min=1,
            help="So many requests, drawn by --seed: the same ones every time.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    order: Annotated[
        Literal["done", "input"],
        typer.Option(
            "--order", help="Write answers as they are done, or in IN's order.", rich_help_panel=_OUTPUT
        ),
    ] = "done",
    flat: Annotated[
        bool,
        typer.Option(
            "--flat",
            help="Write content, reasoning… at the top of each record.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    keep_input: Annotated[
        bool,
        typer.Option(
            "--keep-input", help='Repeat the input\'s record under "input".', rich_help_panel=_OUTPUT
        ),
    ] = False,
    durable: Annotated[
        bool,
        typer.Option(
            "--durable",
            help="Have each answer on the disk itself, against a loss of power.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", help="Write a summary as JSON at the end.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.001,
            help="Give up an answer that takes longer.",
            rich_help_panel=_FAILURES,
        ),
    ] = None,
    max_errors: Annotated[
        int | None,
        typer.Option(
            "--max-errors", metavar="N", min=0, help="Stop when more lines fail.", rich_help_panel=_FAILURES
        ),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first that fails.", rich_help_panel=_FAILURES)
    ] = False,
    system: SystemOption = "",
    schema: SchemaOption = "",
    effort: EffortOption = None,
    max_tokens: MaxTokensOption = None,
    max_reasoning_tokens: MaxReasoningTokensOption = None,
    temperature: TemperatureOption = 1.0,
    top_p: TopPOption = 1.0,
    top_k: TopKOption = 0,
    min_p: MinPOption = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            envvar="OSSCTL_SEED",
            metavar="N",
            min=0,
            help="Line 1 draws by N + 1, line 2 by N + 2…  [default: 0]",
        ),
    ] = None,
    stop: StopOption = None,
    date: DateOption = None,
    ctx: CtxOption = None,
    parallel: ParallelOption = None,
    gpu_layers: GpuLayersOption = None,
    cpu_moe: CpuMoeOption = None,
    kv: KvOption = None,
    ubatch: UbatchOption = None,
    threads: ThreadsOption = 0,
    device: DeviceOption = None,
    verbose: VerboseOption = 0,
) -> None:
    """Answer every request of a file, many at once.

    A line is an OpenAI Batch request, {"prompt": "…"} or {"messages": […]}; they may be mixed. With --prompt
    it may be any record. Every answer is written the moment it is complete, and --resume goes on after any
    interruption. A line that cannot be answered becomes an error record, and the others go on; then the exit
    code is 3. The options of generation hold for every line that does not say otherwise.
    """
    from ossctl.app.batch.options import BatchOptions
    from ossctl.app.batch.run import BatchModel
    from ossctl.app.inference.options import GenerationOptions
    from ossctl.app.placement.load_options import LoadOptions
    from ossctl.app.wire.source import Format

    show_log(verbose)
    formats = {Format.TEXT: text, Format.CSV: csv, Format.TSV: tsv}
    options = BatchOptions(
        source,
        sink,
        GenerationOptions(
            system=system,
            schema=schema,
            max_tokens=max_tokens,
            stops=stop or (),
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            seed=seed,
            date=date.date() if date else None,
            effort=effort,
            max_reasoning_tokens=max_reasoning_tokens,
        ),
        prompt,
        formats=tuple(kind for kind, given in formats.items() if given),
        limit=limit,
        sample=sample,
        assign_ids=assign_ids,
        resume=resume,
        overwrite=overwrite,
        retry_failed=retry_failed,
        order=order,
        flat=flat,
        keep_input=keep_input,
        durable=durable,
        report=report,
        timeout=timeout,
        max_errors=max_errors,
        fail_fast=fail_fast,
    )
    job = options.job()
    survey = job.prepare()
    loading = LoadOptions(ctx, parallel, gpu_layers, cpu_moe, kv, ubatch, threads, device)
    chosen = BatchModel(named(choose_model(model, loading)), loading)
    raise typer.Exit(_check(job, survey, chosen) if dry_run else _run(job, survey, chosen))


def _run(job: "BatchJob", survey: "Survey | None", model: "BatchModel") -> int:
    from ossctl.app.batch.run import run_batch

    total = None if survey is None else survey.count
    with batch_progress(total, to_terminal=job.sink.path is None) as progress:
        summary = run_batch(job, survey, model, progress.watch, say)
    say(f"{describe(summary, total)} · {summary.seconds:,.1f} s")
    for line in summary.remarks():
        say(line)
    return summary.exit_code


def _check(job: "BatchJob", survey: "Survey | None", model: "BatchModel") -> int:
    from ossctl.app.batch.dry_run import dry_run

    found = dry_run(job, survey, model, say)
    put(*dry_run_lines(found))
    return found.exit_code


def batch_status(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The output of a batch.")],
    source: Annotated[
        Path | None, typer.Option("--of", metavar="IN", help="Its input, to tell how much is left.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell how far a batch is, while it runs or after it broke off, from its output."""
    from ossctl.app.batch.status import read_status
    from ossctl.app.wire.source import Source, format_of

    status = read_status(output, Source(source, format_of(source)) if source else None)
    if as_json:
        print_json(status.document())
    else:
        put(*status_lines(status))
