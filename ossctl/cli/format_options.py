"""Options that set the format of an answer, beside `--schema`."""

from pathlib import Path
from typing import Annotated

import typer

RegexOption = Annotated[
    str,
    typer.Option(
        "--regex",
        metavar="PATTERN",
        show_default=False,
        help="Constrain the answer to this regular expression.",
    ),
]
ChoiceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--choice",
        metavar="TEXT",
        show_default=False,
        help="Constrain the answer to one of several texts; give one --choice for each.",
    ),
]
GrammarOption = Annotated[
    Path | None,
    typer.Option(
        "--grammar",
        metavar="FILE",
        show_default=False,
        help="Constrain the answer to the Lark grammar in FILE.",
    ),
]
