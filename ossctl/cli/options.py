"""Options and groups of options that several commands share.

A group's options are declared once, by the function that makes a value of them; see `ossctl.cli.command`.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ossctl.cli.completion import complete_model
from ossctl.cli.output import Output

if TYPE_CHECKING:
    from ossctl.app.inference.options import GenerationOptions
    from ossctl.app.placement.load_options import LoadOptions
    from ossctl.app.tools.options import ToolOptions

ModelOption = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="MODEL",
        envvar="OSSCTL_MODEL",
        autocompletion=complete_model,
        help="20b, 120b, another name that `ossctl ls -a` shows, nano (a toy in the package), hf:ORG/REPO… "
        "or the path of a .gguf file.  "
        "[default: the largest gpt-oss here that fits]",
    ),
]
SystemOption = Annotated[
    str,
    typer.Option(
        "-s",
        "--system",
        metavar="TEXT|@FILE",
        show_default=False,
        help="Instructions for the whole conversation.",
    ),
]
SchemaOption = Annotated[
    str,
    typer.Option(
        "--schema",
        metavar="JSON|FILE",
        show_default=False,
        help="The answer is JSON that fits this JSON schema.",
    ),
]
YesOption = Annotated[bool, typer.Option("-y", "--yes", help="Ask nothing.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
VerboseOption = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        help="Show the log on stderr; -vv with llama.cpp's own and tracebacks.",
    ),
]


def _tokens(text: str) -> str:
    """A number of tokens, or `max`."""
    if text.strip().lower() == "max":
        return "max"
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither a number of tokens nor `max`.")
    return str(int(text))


def is_from_environment(context: typer.Context, option: str) -> bool:
    """Whether the environment sets an option, rather than the command line."""
    source: Any = context.get_parameter_source(option)
    return source is not None and source.name == "ENVIRONMENT"


def generation_options(
    *,
    context: typer.Context,
    effort: Annotated[
        Literal["low", "medium", "high"] | None,
        typer.Option(
            "-e",
            "--effort",
            envvar="OSSCTL_EFFORT",
            case_sensitive=False,
            help="How much gpt-oss reasons.  [default: medium]",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--max-tokens",
            envvar="OSSCTL_MAX_TOKENS",
            metavar="N",
            min=1,
            help="Tokens of reasoning and answer together.  [default: as many as fit]",
        ),
    ] = None,
    max_reasoning_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-reasoning-tokens",
            envvar="OSSCTL_MAX_REASONING_TOKENS",
            metavar="N",
            min=0,
            help="Begin the answer after so many tokens of reasoning.",
        ),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option("-t", "--temperature", envvar="OSSCTL_TEMPERATURE", metavar="T", help="0 is greedy."),
    ] = 1.0,
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p",
            envvar="OSSCTL_TOP_P",
            metavar="P",
            help="Draw from the likeliest tokens of this share.",
        ),
    ] = 1.0,
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k", envvar="OSSCTL_TOP_K", metavar="K", help="Draw from so many tokens; 0 is all."
        ),
    ] = 0,
    min_p: Annotated[
        float,
        typer.Option(
            "--min-p",
            envvar="OSSCTL_MIN_P",
            metavar="P",
            help="Leave out tokens less likely than this share of the likeliest.",
        ),
    ] = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            envvar="OSSCTL_SEED",
            metavar="N",
            min=-1,
            help="For the same answer again.  [default: drawn]",
        ),
    ] = None,
    stops: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            metavar="TEXT",
            show_default=False,
            help="End the answer before this text; may be given several times.",
        ),
    ] = None,
    date: Annotated[
        datetime | None,
        typer.Option(
            "--date",
            metavar="YYYY-MM-DD",
            formats=["%Y-%m-%d"],
            help="What the model is told today is.  [default: today]",
        ),
    ] = None,
) -> "GenerationOptions":
    from ossctl.app.inference.options import GenerationOptions

    return GenerationOptions(
        effort=effort,
        max_tokens=max_tokens,
        max_reasoning_tokens=max_reasoning_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        seed=seed,
        stops=tuple(stops or ()),
        date=date.date() if date else None,
        from_environment=frozenset(
            name for name in ("effort", "max_reasoning_tokens") if is_from_environment(context, name)
        ),
    )


def loading_options(
    *,
    ctx: Annotated[
        str | None,
        typer.Option(
            "--ctx",
            metavar="N|max",
            envvar="OSSCTL_CTX",
            parser=_tokens,
            help="Tokens that one request may use, prompt and answer together.  [default: planned]",
        ),
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            metavar="N",
            envvar="OSSCTL_PARALLEL",
            min=1,
            max=256,
            help="Requests that are answered at once.  [default: planned]",
        ),
    ] = None,
    gpu_layers: Annotated[
        int | None,
        typer.Option(
            "--gpu-layers",
            metavar="N",
            envvar="OSSCTL_GPU_LAYERS",
            min=0,
            help="Layers on GPUs, the output counted as one.  [default: planned]",
        ),
    ] = None,
    cpu_moe: Annotated[
        int | None,
        typer.Option(
            "--cpu-moe",
            metavar="N",
            envvar="OSSCTL_CPU_MOE",
            min=0,
            help="Layers that keep their experts in RAM.  [default: planned]",
        ),
    ] = None,
    kv: Annotated[
        Literal["f16", "q8_0"] | None,
        typer.Option("--kv", envvar="OSSCTL_KV", help="Type of the cache.  [default: f16]"),
    ] = None,
    ubatch: Annotated[
        int | None,
        typer.Option(
            "--ubatch",
            metavar="N",
            envvar="OSSCTL_UBATCH",
            min=1,
            max=65_536,
            help="Tokens of a prompt that are computed at once.  [default: planned]",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            metavar="N",
            envvar="OSSCTL_THREADS",
            min=0,
            max=512,
            help="CPU threads; 0 is one a core.",
        ),
    ] = 0,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME[,NAME]",
            envvar="OSSCTL_DEVICE",
            help="Use these devices only; cpu is none.  [default: all]",
        ),
    ] = None,
) -> "LoadOptions":
    from ossctl.app.placement.load_options import LoadOptions

    return LoadOptions(ctx, parallel, gpu_layers, cpu_moe, kv, ubatch, threads, device)


def tool_options(
    *,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tool",
            metavar="NAME=FILE",
            show_default=False,
            help="A function that the model may call; FILE is the JSON schema of its arguments.",
        ),
    ] = None,
    commands: Annotated[
        list[str] | None,
        typer.Option(
            "--tool-cmd",
            metavar="NAME=COMMAND",
            show_default=False,
            help="Answer its calls with this program: arguments as JSON on stdin, the result on stdout.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--tool-timeout", metavar="SECONDS", min=0.1, help="For one call.")
    ] = 60.0,
    unasked: Annotated[bool, typer.Option("-y", "--yes", help="Run them without asking.")] = False,
) -> "ToolOptions":
    from ossctl.app.tools.options import ToolOptions

    return ToolOptions(tools or (), commands or (), seconds, unasked=unasked)


def text_output(*, verbose: VerboseOption = 0) -> Output:
    return _output(Output(), verbose)


def json_output(*, as_json: JsonOption = False, verbose: VerboseOption = 0) -> Output:
    return _output(Output(as_json), verbose)


def _output(out: Output, verbose: int) -> Output:
    out.show_log(verbose)
    return out


GenerationGroup = Annotated["GenerationOptions", generation_options]
LoadingGroup = Annotated["LoadOptions", loading_options]
ToolGroup = Annotated["ToolOptions", tool_options]
TextOutput = Annotated[Output, text_output]
JsonOutput = Annotated[Output, json_output]
