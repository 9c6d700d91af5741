"""`ossctl batch`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ossctl.cli.offer import choose_model
from ossctl.cli.options import (
    CpuMoeOption,
    CtxOption,
    DateOption,
    DeviceOption,
    EffortOption,
    GpuLayersOption,
    KvOption,
    MaxReasoningTokensOption,
    ModelOption,
    ParallelOption,
    ThreadsOption,
    UbatchOption,
    VerboseOption,
)
from ossctl.cli.output import named, say, show_log
from ossctl.cli.progress import batch_progress, describe, remarks

_STREAM = Path("-")


def batch(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A file of JSON lines, one request each; - is stdin.")
    ],
    sink: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="Where the answers go; - is stdout.")
    ] = _STREAM,
    model: ModelOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    effort: EffortOption = None,
    max_reasoning_tokens: MaxReasoningTokensOption = None,
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

    A line is an OpenAI Batch request, {"prompt": "…"} or {"messages": […]}; they may be mixed. Every
    answer is written the moment it is complete. A line that cannot be answered becomes an error record,
    and the others go on; then the exit code is 3.
    """
    from ossctl.app.batch import BatchFiles, BatchModel, run_batch
    from ossctl.app.conversation import Defaults
    from ossctl.app.load_options import LoadOptions

    show_log(verbose)
    files = BatchFiles(_file(source), _file(sink), overwrite)
    total = files.check()
    options = LoadOptions(ctx, parallel, gpu_layers, cpu_moe, kv, ubatch, threads, device)
    path = named(choose_model(model, options))
    with batch_progress(total, to_terminal=sink == _STREAM) as progress:
        today = date or datetime.now().astimezone()
        defaults = Defaults(today.date(), effort, max_reasoning_tokens)
        summary = run_batch(files, BatchModel(path, options, total), progress.watch, defaults, say)
    say(f"{describe(summary, total)} · {summary.seconds:,.1f} s")
    for line in remarks(summary):
        say(line)
    raise typer.Exit(summary.exit_code)


def _file(path: Path) -> Path | None:
    return None if path == _STREAM else path
