"""Options that several commands share."""

from datetime import datetime
from typing import Annotated, Literal

import typer

_GENERATION = "Generation"
_LOADING = "Loading"

ModelOption = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="MODEL",
        envvar="OSSCTL_MODEL",
        help="20b, 120b, another name that `ossctl ls` shows, hf:ORG/REPO…, the path of a .gguf file, or "
        "nano: the small test and demo model inside this package.  [default: the largest gpt-oss here]",
    ),
]
EffortOption = Annotated[
    Literal["low", "medium", "high"] | None,
    typer.Option(
        "-e",
        "--effort",
        help="How much gpt-oss reasons.  [default: medium]",
        rich_help_panel=_GENERATION,
    ),
]
MaxReasoningTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-reasoning-tokens",
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
CtxOption = Annotated[
    int | None,
    typer.Option(
        "--ctx",
        metavar="N",
        envvar="OSSCTL_CTX",
        min=1,
        help="Tokens that one request may use, prompt and answer together.  [default: 4096, or the model's]",
        rich_help_panel=_LOADING,
    ),
]
ParallelOption = Annotated[
    int,
    typer.Option(
        "--parallel",
        metavar="N",
        envvar="OSSCTL_PARALLEL",
        min=1,
        max=256,
        help="Requests that are answered at once.",
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
