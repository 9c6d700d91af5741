"""`ossctl bench`."""

from pathlib import Path
from typing import Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.completion import complete_model
from ossctl.cli.loading_options import LoadingGroup
from ossctl.cli.offer import model_file
from ossctl.cli.options import JsonOutput
from ossctl.errors import Interrupted


@command
def bench(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            autocompletion=complete_model,
            help="20b, 120b, another name or a path.  [default: the largest gpt-oss on this machine]",
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Measure longer prompts, up to 256 sequences, and each speed for up to 30 s."
        ),
    ] = False,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Also measure other settings, and print the options that are faster."),
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="FILE", help="Compare with the --json output of an earlier run."),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Also plot the speeds as SVG.")
    ] = None,
    loading: LoadingGroup,
    out: JsonOutput,
) -> None:
    """Measure how fast a model is on this machine.

    Prompt processing and generation by length, batches by the number of sequences, and the time to the first
    token. Every speed is compared with that of llama.cpp itself: `llama_decode` alone, with the same
    settings, measured in turns. Speeds are repeated until their 95 % interval is within 5 %, for a few
    seconds each. `ossctl plan` shows them from then on. Ctrl-C ends the measurement and prints what is
    complete.
    """
    from msgspec import to_builtins

    from ossctl.app.bench.comparison import compared, read_report
    from ossctl.app.bench.options import FULL, QUICK, BenchOptions
    from ossctl.app.bench.picture import check_place, save_picture
    from ossctl.app.bench.results import record_of
    from ossctl.app.bench.run import measure
    from ossctl.app.library.resolve import is_path
    from ossctl.cli.bench_view import bench_lines, bench_progress, comparison_lines

    before = None if compare is None else read_report(compare)
    if svg is not None:
        check_place(svg)
    path = model_file(model, loading, out)
    options = BenchOptions(
        path.stem if model is None or is_path(model) else model,
        path,
        loading,
        FULL if full else QUICK,
        tune=tune,
    )
    with bench_progress(out) as progress:
        report = measure(options, progress)
    comparison = None if before is None else compared(report, before)
    out.json(record_of(report) | ({} if comparison is None else {"comparison": to_builtins(comparison)}))
    out.lines(bench_lines(report, out))
    if comparison is not None:
        out.lines(comparison_lines(comparison))
    if svg is not None:
        save_picture(report, svg)
    if report.signal:
        raise Interrupted(report.signal, "The results are those that were complete.")
