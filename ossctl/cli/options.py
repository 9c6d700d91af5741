"""Options that several commands share."""

import glob
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

_GENERATION = "Generation"
_LOADING = "Loading"
_TOOLS = "Tools"


def _complete_model(incomplete: str) -> list[str]:
    """Names of models, then files and folders; no name looks like a path."""
    from ossctl.app.library.resolve import known_names

    known = [name for name in known_names() if name.startswith(incomplete)]
    folder, _, start = incomplete.rpartition("/")
    try:
        found = sorted(Path(folder or ".").glob(f"{glob.escape(start)}*")) if incomplete else []
    except OSError:
        found = []
    folders = [f"{path.as_posix()}/" for path in found if path.is_dir()]
    return [*known, *folders, *(path.as_posix() for path in found if path.suffix == ".gguf")]


def complete_session(incomplete: str) -> list[tuple[str, str]]:
    """Ids of saved chats, with their titles."""
    from ossctl.app.chat.session_log import list_sessions
    from ossctl.settings import Paths

    found = list_sessions(Paths.from_environment().sessions)
    return [(session.id, session.title) for session in found if session.id.startswith(incomplete)]


ModelOption = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="MODEL",
        envvar="OSSCTL_MODEL",
        autocompletion=_complete_model,
        help="20b, 120b, another name that `ossctl ls -a` shows, nano (a toy in the package), hf:ORG/REPO… "
        "or the path of a .gguf file.  "
        "[default: the largest gpt-oss here that fits]",
    ),
]
EffortOption = Annotated[
    Literal["low", "medium", "high"] | None,
    typer.Option(
        "-e",
        "--effort",
        envvar="OSSCTL_EFFORT",
        help="How much gpt-oss reasons.  [default: medium]",
        rich_help_panel=_GENERATION,
    ),
]
MaxReasoningTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-reasoning-tokens",
        envvar="OSSCTL_MAX_REASONING_TOKENS",
        metavar="N",
        min=0,
        help="Begin the answer after so many tokens of reasoning.",
        rich_help_panel=_GENERATION,
    ),
]
DateOption = Annotated[
    datetime | None,
    typer.Option(
        "--date",
        metavar="YYYY-MM-DD",
        formats=["%Y-%m-%d"],
        help="What the model is told today is.  [default: today]",
        rich_help_panel=_GENERATION,
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
        rich_help_panel=_GENERATION,
    ),
]
SchemaOption = Annotated[
    str,
    typer.Option(
        "--schema",
        metavar="JSON|FILE",
        show_default=False,
        help="The answer is JSON that fits this JSON schema.",
        rich_help_panel=_GENERATION,
    ),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        "-n",
        "--max-tokens",
        envvar="OSSCTL_MAX_TOKENS",
        metavar="N",
        min=1,
        help="Tokens of reasoning and answer together.  [default: as many as fit]",
        rich_help_panel=_GENERATION,
    ),
]
TemperatureOption = Annotated[
    float,
    typer.Option(
        "-t",
        "--temperature",
        envvar="OSSCTL_TEMPERATURE",
        metavar="T",
        help="0 is greedy.",
        rich_help_panel=_GENERATION,
    ),
]
TopPOption = Annotated[
    float,
    typer.Option(
        "--top-p",
        envvar="OSSCTL_TOP_P",
        metavar="P",
        help="Draw from the likeliest tokens of this share.",
        rich_help_panel=_GENERATION,
    ),
]
TopKOption = Annotated[
    int,
    typer.Option(
        "--top-k",
        envvar="OSSCTL_TOP_K",
        metavar="K",
        help="Draw from so many tokens; 0 is all.",
        rich_help_panel=_GENERATION,
    ),
]
MinPOption = Annotated[
    float,
    typer.Option(
        "--min-p",
        envvar="OSSCTL_MIN_P",
        metavar="P",
        help="Leave out tokens less likely than this share of the likeliest.",
        rich_help_panel=_GENERATION,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        envvar="OSSCTL_SEED",
        metavar="N",
        min=0,
        help="For the same answer again.  [default: drawn]",
        rich_help_panel=_GENERATION,
    ),
]
StopOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stop",
        metavar="TEXT",
        show_default=False,
        help="End the answer before this text; may be given several times.",
        rich_help_panel=_GENERATION,
    ),
]


def _tokens(text: str) -> str:
    """A number of tokens, or `max`."""
    if text.strip().lower() == "max":
        return "max"
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither a number of tokens nor `max`.")
    return str(int(text))


CtxOption = Annotated[
    str | None,
    typer.Option(
        "--ctx",
        metavar="N|max",
        envvar="OSSCTL_CTX",
        parser=_tokens,
        help="Tokens that one request may use, prompt and answer together.  [default: planned]",
        rich_help_panel=_LOADING,
    ),
]
ParallelOption = Annotated[
    int | None,
    typer.Option(
        "--parallel",
        metavar="N",
        envvar="OSSCTL_PARALLEL",
        min=1,
        max=256,
        help="Requests that are answered at once.  [default: planned]",
        rich_help_panel=_LOADING,
    ),
]
GpuLayersOption = Annotated[
    int | None,
    typer.Option(
        "--gpu-layers",
        metavar="N",
        envvar="OSSCTL_GPU_LAYERS",
        min=0,
        help="Layers on GPUs, the output counted as one.  [default: planned]",
        rich_help_panel=_LOADING,
    ),
]
CpuMoeOption = Annotated[
    int | None,
    typer.Option(
        "--cpu-moe",
        metavar="N",
        envvar="OSSCTL_CPU_MOE",
        min=0,
        help="Layers that keep their experts in RAM.  [default: planned]",
        rich_help_panel=_LOADING,
    ),
]
KvOption = Annotated[
    Literal["f16", "q8_0"] | None,
    typer.Option(
        "--kv",
        envvar="OSSCTL_KV",
        help="Type of the cache.  [default: f16]",
        rich_help_panel=_LOADING,
    ),
]
UbatchOption = Annotated[
    int | None,
    typer.Option(
        "--ubatch",
        metavar="N",
        envvar="OSSCTL_UBATCH",
        min=1,
        max=65_536,
        help="Tokens of a prompt that are computed at once.  [default: planned]",
        rich_help_panel=_LOADING,
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        envvar="OSSCTL_THREADS",
        min=0,
        max=512,
        help="CPU threads; 0 is one a core.",
        rich_help_panel=_LOADING,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME[,NAME]",
        envvar="OSSCTL_DEVICE",
        help="Use these devices only; cpu is none.  [default: all]",
        rich_help_panel=_LOADING,
    ),
]
ToolsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tool",
        metavar="NAME=FILE",
        show_default=False,
        help="A function that the model may call; FILE is the JSON schema of its arguments.",
        rich_help_panel=_TOOLS,
    ),
]
ToolCommandsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tool-cmd",
        metavar="NAME=COMMAND",
        show_default=False,
        help="Answer its calls with this program: arguments as JSON on stdin, the result on stdout.",
        rich_help_panel=_TOOLS,
    ),
]
ToolTimeoutOption = Annotated[
    float,
    typer.Option("--tool-timeout", metavar="SECONDS", min=0.1, help="For one call.", rich_help_panel=_TOOLS),
]
AllowToolsOption = Annotated[
    bool, typer.Option("-y", "--yes", help="Run them without asking.", rich_help_panel=_TOOLS)
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
