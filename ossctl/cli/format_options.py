"""Options that set the format of an answer."""

from pathlib import Path
from typing import Annotated, Any

import typer

SchemaOption = Annotated[
    str,
    typer.Option(
        "--schema",
        metavar="JSON|FILE",
        show_default=False,
        help="Constrain the answer to JSON that matches this schema.",
    ),
]
SchemaRetriesOption = Annotated[
    int,
    typer.Option("--schema-retries", metavar="N", min=0, max=100, help="Further attempts to fit a schema."),
]
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


def format_options(
    *,
    schema: SchemaOption = "",
    schema_retries: SchemaRetriesOption = 2,
    regex: RegexOption = "",
    choices: ChoiceOption = None,
    grammar: GrammarOption = None,
) -> dict[str, Any]:
    """The fields of `GenerationOptions` for the format of an answer."""
    return {
        "schema": schema,
        "schema_retries": schema_retries,
        "regex": regex,
        "choices": choices or (),
        "grammar": grammar,
    }


FormatGroup = Annotated[dict[str, Any], format_options]
