"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

_LOADING = "Loading"

ModelOption = Annotated[
    Path,
    typer.Option(
        "-m", "--model", metavar="MODEL", envvar="OSSCTL_MODEL", help="The model: a path to a .gguf file."
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
