"""`ossctl plan`."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.options import JsonOutput, LoadingGroup
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
            help="GPUs that are sold with so much, as 16GiB,24GiB, of which drivers keep a part; in MiB, as "
            "15842MiB, all of it is to be had. 0 is none.",
        ),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="NAME",
            help='A card, as 4090 or "RTX 4060 Ti 16GB", or a computer whose GPU shares its memory, as '
            '"M4 Max 64GB", "Strix Halo 128GB" or "DGX Spark"; may be repeated.',
        ),
    ] = None,
    ram: Annotated[str | None, typer.Option("--ram", metavar="SIZE", help="So much RAM.")] = None,
) -> "MachineOptions":
    from ossctl.app.plan.report import MachineOptions

    return MachineOptions(vram, ram, tuple(gpu or ()))


MachineGroup = Annotated["MachineOptions", machine_options]


@command
def plan(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="20b, 120b, another name, hf:ORG/REPO…, a path; without, all are compared."
        ),
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Plan for a batch instead of a chat.")] = False,
    llama_args: Annotated[
        bool,
        typer.Option(
            "--llama-args",
            help="Print a llama-server command line, with room for what older servers reserve besides.",
        ),
    ] = False,
    options: MachineGroup,
    loading: LoadingGroup,
    out: JsonOutput,
) -> None:
    """Show how a model would be placed in memory, on this machine or another, before it is loaded.

    Nothing is loaded, and nothing downloaded but the header of a model that is neither here nor known. Each
    loading option that is given is kept, and the rest is planned around it. The exit code is 5 if the model
    does not fit.
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
    from ossctl.app.plan.llama_server import llama_arguments
    from ossctl.app.plan.record import plan_record
    from ossctl.cli.plan_view import describe_plan

    if out.as_json and llama_args:
        raise UsageError("--json and --llama-args are two different outputs", "Give one of them.")
    outcome = report.fit
    out.json(plan_record(report))
    if isinstance(outcome, DoesNotFit):
        raise outcome.error
    if llama_args:
        out.text(shlex.join(llama_arguments(outcome, report.model)))
    else:
        out.lines(describe_plan(report, outcome, out))
