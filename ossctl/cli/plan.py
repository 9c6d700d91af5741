"""`ossctl plan`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.loading_options import LoadingGroup
from ossctl.cli.options import JsonOutput
from ossctl.cli.output import Output
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.plan.report import MachineOptions, Report, Unplanned


def machine_options(
    *,
    vram: Annotated[
        str | None,
        typer.Option(
            "--vram",
            metavar="SIZE[,SIZE]",
            help="GPU memory of another machine: in GiB as sold, such as 16GiB,24GiB, less what the driver "
            "keeps; in MiB as usable, such as 15842MiB. 0 means no GPU.",
        ),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="NAME",
            help='GPU of another machine, such as 4090 or "RTX 4060 Ti 16GB", or a computer with unified '
            'memory, such as "M4 Max 64GB", "Strix Halo 128GB" or "DGX Spark"; can be repeated.',
        ),
    ] = None,
    ram: Annotated[str | None, typer.Option("--ram", metavar="SIZE", help="RAM of another machine.")] = None,
) -> "MachineOptions":
    """Which machine to plan for."""
    from ossctl.app.plan.report import MachineOptions

    return MachineOptions(vram, ram, tuple(gpu or ()))


MachineGroup = Annotated["MachineOptions", machine_options]


@command
def plan(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="20b, 120b, another name, hf:ORG/REPO… or a path; without it, all models are compared.",
        ),
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Plan for a batch instead of a chat.")] = False,
    llama_args: Annotated[
        bool,
        typer.Option(
            "--llama-args",
            help="Print an equivalent llama-server command line, with spare memory for older versions.",
        ),
    ] = False,
    options: MachineGroup,
    loading: LoadingGroup,
    out: JsonOutput,
) -> None:
    """Show how a model would be placed in memory, without loading it.

    For a MODEL that is on this machine, llama.cpp itself is asked what it would reserve. --vram, --gpu and
    --ram plan for another machine. At most the header of a model is downloaded. Loading options are kept as
    given, and the rest is planned around them. The exit code is 5 if the model does not fit.
    """
    from ossctl.app.plan.report import plan_all, plan_one, unplanned
    from ossctl.planning.workload import Purpose, Workload

    # llama-server reserved logits for every token of a ubatch until llama.cpp's pull request 23861.
    workload = Workload(Purpose.BATCH if batch else Purpose.INTERACTIVE, all_logits=llama_args)
    machine = options.machine()
    if model is None:
        if llama_args:
            raise UsageError("--llama-args needs a MODEL")
        reports = plan_all(loading, workload, machine)
        _show_all(reports, unplanned(reports, machine), out)
    else:
        _show_one(plan_one(model, loading, workload, machine, out.note), out, llama_args=llama_args)


def _show_all(reports: "list[Report]", others: "list[Unplanned]", out: Output) -> None:
    from ossctl.app.plan.record import plan_record
    from ossctl.cli.plan_view import compare

    unknown = [
        {"model": each.model, "gigabytes": each.gigabytes, "fits": False if each.too_large else None}
        for each in others
    ]
    plans = [plan_record(each) for each in reports]
    out.json({"schema": "ossctl.plans/1", "plans": plans, "unplanned": unknown})
    out.lines(compare(reports, others))


def _show_one(report: "Report", out: Output, *, llama_args: bool) -> None:
    from ossctl.app.placement.fit import DoesNotFit
    from ossctl.app.plan.llama_server import llama_command
    from ossctl.app.plan.record import plan_record
    from ossctl.cli.plan_view import describe_plan

    if out.as_json and llama_args:
        raise UsageError("--json and --llama-args cannot be combined", "Use one of them.")
    outcome = report.fit
    out.json(plan_record(report))
    if isinstance(outcome, DoesNotFit):
        raise outcome.error
    if llama_args:
        out.text(llama_command(outcome, report.model))
    else:
        out.lines(describe_plan(report, outcome, out))
