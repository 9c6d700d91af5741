"""`ossctl doctor`."""

from dataclasses import asdict
from typing import Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.options import JsonOutput
from ossctl.cli.output import Output
from ossctl.errors import ExitCode, ModelError

_MARKS = {"ok": ("✓", "ok"), "note": ("·", "--"), "fix": ("✗", "!!")}


@command
def doctor(
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="MODEL",
            help="Model for the test.  [default: the smallest on this machine]",
        ),
    ] = None,
    reset_corrections: Annotated[
        bool,
        typer.Option(
            "--reset-corrections",
            help="Forget earlier out-of-memory corrections, so that plans use all memory again.",
        ),
    ] = False,
    out: JsonOutput,
) -> None:
    """Check this installation and suggest fixes.

    Checks the llama.cpp build, devices, memory, disk, models and settings, and compares a few tokens
    generated on every device with the CPU's. The exit code is 1 if something needs fixing.
    """
    from ossctl.app.doctor.checks import examine
    from ossctl.app.library.resolve import locate
    from ossctl.app.placement.memory_corrections import Corrections

    path = None if model is None else locate(model).first
    if path is not None and not path.is_file():
        raise ModelError(f"no model file at {model}", "Check the path.")
    if reset_corrections:
        Corrections.saved().reset()
    checks = []
    for check in examine(path):
        checks.append(check)
        out.text(f"{_mark(check.state, out)} {check.name:<10}{check.message}")
        if check.fix:
            out.text(f"  {'':<10}{check.fix}")
    ok = all(check.state != "fix" for check in checks)
    out.json({"schema": "ossctl.doctor/1", "ok": ok, "checks": [asdict(check) for check in checks]})
    if not ok:
        raise typer.Exit(ExitCode.FAILED)


def _mark(state: str, out: Output) -> str:
    symbol, plain = _MARKS[state]
    return symbol if out.shows(symbol) else plain
