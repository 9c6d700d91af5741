"""Options that set the format of an input file."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ossctl.app.wire.source import Format

TextInputOption = Annotated[bool, typer.Option("--text", help="Read each line of IN as a prompt.")]
CsvInputOption = Annotated[bool, typer.Option("--csv", help="Read IN as comma-separated values.")]
TsvInputOption = Annotated[bool, typer.Option("--tsv", help="Read IN as tab-separated values.")]


def formats_of(*, text: bool, csv: bool, tsv: bool) -> tuple["Format", ...]:
    """The formats that these options give."""
    from ossctl.app.wire.source import Format

    given = {Format.TEXT: text, Format.CSV: csv, Format.TSV: tsv}
    return tuple(each for each, wanted in given.items() if wanted)
