"""`ossctl run`."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ossctl.cli.offer import choose_model
from ossctl.cli.options import (
    AllowToolsOption,
    CpuMoeOption,
    CtxOption,
    DateOption,
    DeviceOption,
    EffortOption,
    GpuLayersOption,
    KvOption,
    MaxReasoningTokensOption,
    MaxTokensOption,
    MinPOption,
    ModelOption,
    ParallelOption,
    SchemaOption,
    SeedOption,
    StopOption,
    SystemOption,
    TemperatureOption,
    ThreadsOption,
    ToolCommandsOption,
    ToolsOption,
    ToolTimeoutOption,
    TopKOption,
    TopPOption,
    UbatchOption,
    VerboseOption,
)
from ossctl.cli.output import named, open_stdout, say, show_log
from ossctl.errors import OssctlError, UsageError

_OUTPUT = "Output"
_SERVING = "Serving"


def run(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROMPT]...", show_default=False, help="What to ask; words are joined."),
    ] = None,
    model: ModelOption = None,
    files: Annotated[
        list[Path] | None,
        typer.Option("-f", "--file", metavar="FILE", show_default=False, help="A text file to ask about."),
    ] = None,
    system: SystemOption = "",
    raw: Annotated[
        bool, typer.Option("--raw", help="Give the model the text as it stands, without a chat format.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=_OUTPUT)
    ] = False,
    extract: Annotated[
        bool,
        typer.Option("-x", "--extract", help="Print the first code block only.", rich_help_panel=_OUTPUT),
    ] = False,
    show_reasoning: Annotated[
        bool,
        typer.Option("--show-reasoning", help="Show the reasoning on stderr.", rich_help_panel=_OUTPUT),
    ] = False,
    sink: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write FILE, when all of it is there.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    count: Annotated[
        int,
        typer.Option("--n", metavar="N", min=1, max=64, help="Answers to give.", rich_help_panel=_OUTPUT),
    ] = 1,
    tools: ToolsOption = None,
    tool_commands: ToolCommandsOption = None,
    tool_seconds: ToolTimeoutOption = 60.0,
    yes: AllowToolsOption = False,
    serve_stdin: Annotated[
        bool,
        typer.Option(
            "--serve-stdin",
            help="Keep the model loaded: a request a line on stdin, events on stdout.",
            rich_help_panel=_SERVING,
        ),
    ] = False,
    schema: SchemaOption = "",
    effort: EffortOption = None,
    max_tokens: MaxTokensOption = None,
    max_reasoning_tokens: MaxReasoningTokensOption = None,
    temperature: TemperatureOption = 1.0,
    top_p: TopPOption = 1.0,
    top_k: TopKOption = 0,
    min_p: MinPOption = 0.0,
    seed: SeedOption = None,
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
    """Answer one prompt, on stdout.

    Text that is piped in comes after the prompt, fenced from it; without a prompt it is the prompt. stdout
    has the answer and nothing else. The exit code tells a cut answer (6), one that repeats itself (7), a
    refusal (8) and an empty one (1) from a good one (0).
    """
    from ossctl.app.placement.load_options import LoadOptions
    from ossctl.app.run.options import RunOptions
    from ossctl.app.run.run import run as ask
    from ossctl.cli.run_output import RunOutput

    show_log(verbose)
    open_stdout()
    if tool_commands and not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "--tool-cmd runs programs, and there is no terminal to ask on", "Give --yes to allow it."
        )
    options = RunOptions(
        words=prompt or (),
        files=files or (),
        system=system,
        schema=schema,
        tools=tools or (),
        commands=tool_commands or (),
        tool_seconds=tool_seconds,
        raw=raw,
        n=count,
        max_tokens=max_tokens,
        stops=stop or (),
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        seed=seed,
        date=(date or datetime.now().astimezone()).date(),
        effort=effort,
        max_reasoning_tokens=max_reasoning_tokens,
        sink=sink,
    )
    loading = LoadOptions(ctx, parallel, gpu_layers, cpu_moe, kv, ubatch, threads, device)
    if serve_stdin:
        from ossctl.app.run.serve import serve

        if as_json or extract:
            raise UsageError("--json and --extract have no meaning with --serve-stdin")
        defaults = options.defaults_for_lines()
        serve(named(choose_model(model, loading)), loading, defaults, say)
        return
    request = options.request()
    path = named(choose_model(model, loading))
    output = RunOutput(
        as_json=as_json,
        extract=extract,
        whole=bool(schema or tool_commands) or count > 1,
        show_reasoning=show_reasoning,
        yes=yes,
        sink=sink,
    )
    try:
        result = ask(request, path, loading, output)
    except OssctlError:
        output.broke_off()
        raise
    raise typer.Exit(output.finish(result))
