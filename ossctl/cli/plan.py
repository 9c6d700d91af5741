"""`ossctl plan`."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.options import (
    CpuMoeOption,
    CtxOption,
    DeviceOption,
    GpuLayersOption,
    KvOption,
    ParallelOption,
    ThreadsOption,
    UbatchOption,
    VerboseOption,
)
from ossctl.cli.output import print_json, put, say, show_log
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.plan.report import Report, Unplanned

_MACHINE = "Another machine"


def plan(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="20b, 120b, another name, hf:ORG/REPO…, a path; without, all are compared."
        ),
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Plan for a batch instead of a chat.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    llama_args: Annotated[
        bool,
        typer.Option(
            "--llama-args",
            help="Print a llama-server command line, with room for what older servers reserve besides.",
        ),
    ] = False,
    vram: Annotated[
        str | None,
        typer.Option(
            "--vram", metavar="SIZE[,SIZE]", rich_help_panel=_MACHINE,
            help="GPUs that are sold with so much, as 16GiB,24GiB, of which drivers keep a part; in MiB, as "
            "15842MiB, all of it is to be had. 0 is none.",
        ),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu", metavar="NAME", rich_help_panel=_MACHINE,
            help='A card, as 4090 or "RTX 4060 Ti 16GB", or a computer whose GPU shares its memory, as '
            '"M4 Max 64GB", "Strix Halo 128GB" or "DGX Spark"; may be repeated.',
        ),
    ] = None,
    ram: Annotated[
        str | None,
        typer.Option("--ram", metavar="SIZE", help="So much RAM.", rich_help_panel=_MACHINE),
    ] = None,
    ctx: CtxOption = None,
    parallel: ParallelOption = None,
    gpu_layers: GpuLayersOption = None,
    cpu_moe: CpuMoeOption = None,
    kv: KvOption = None,
    ubatch: UbatchOption = None,
    threads: ThreadsOption = 0,
    device: DeviceOption = None,
    verbose: VerboseOption = 0,
) -> None:  # fmt: skip
    """Show how a model would be placed in memory, on this machine or another, before it is loaded.

    Nothing is loaded, and nothing downloaded but the header of a model that is neither here nor known. Each
    loading option that is given is kept, and the rest is planned around it. The exit code is 5 if the model
    does not fit.
    """
    from ossctl.app.placement.load_options import LoadOptions
    from ossctl.app.plan.report import MachineOptions, plan_all, plan_one, unplanned
    from ossctl.planning.workload import Purpose, Workload

    show_log(verbose)
    options = LoadOptions(ctx, parallel, gpu_layers, cpu_moe, kv, ubatch, threads, device)
    # llama-server reserved logits for every token of a ubatch until llama.cpp's pull request 23861.
    workload = Workload(Purpose.BATCH if batch else Purpose.INTERACTIVE, all_logits=llama_args)
    machine = MachineOptions(vram, ram, tuple(gpu or ())).machine()
    if model is None:
        if llama_args:
            raise UsageError("--llama-args needs a MODEL")
        reports = plan_all(options, workload, machine)
        _show_all(reports, unplanned(reports, machine), as_json=as_json)
    else:
        _show_one(plan_one(model, options, workload, machine, say), as_json=as_json, llama_args=llama_args)


def _show_all(reports: "list[Report]", others: "list[Unplanned]", *, as_json: bool) -> None:
    from ossctl.app.plan.record import plan_record
    from ossctl.cli.plan_view import compare

    if as_json:
        unknown = [
            {"model": each.model, "gigabytes": each.gigabytes, "fits": False if each.too_large else None}
            for each in others
        ]
        plans = [plan_record(each) for each in reports]
        print_json({"schema": "ossctl.plans/1", "plans": plans, "unplanned": unknown})
    else:
        put(*compare(reports, others))


def _show_one(report: "Report", *, as_json: bool, llama_args: bool) -> None:
    from ossctl.app.placement.fit import DoesNotFit
    from ossctl.app.plan.llama_server import llama_arguments
    from ossctl.app.plan.record import plan_record
    from ossctl.cli.plan_view import describe_plan

    if as_json and llama_args:
        raise UsageError("--json and --llama-args are two different outputs", "Give one of them.")
    outcome = report.fit
    if as_json:
        print_json(plan_record(report))
    if isinstance(outcome, DoesNotFit):
        raise outcome.error
    if llama_args:
        put(shlex.join(llama_arguments(outcome, report.model)))
    elif not as_json:
        put(*describe_plan(report, outcome))
