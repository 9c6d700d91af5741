"""`ossctl batch join`."""

from pathlib import Path
from typing import Annotated

import typer

from ossctl.cli.batch_view import join_lines, joined
from ossctl.cli.command import command
from ossctl.cli.input_options import CsvInputOption, TextInputOption, TsvInputOption, formats_of
from ossctl.cli.options import TextOutput, seed_option

_STREAM = Path("-")


@command
def batch_join(
    *,
    outputs: Annotated[list[Path], typer.Argument(metavar="OUT", help="Outputs of the shards.")],
    source: Annotated[Path, typer.Option("--of", metavar="IN", help="Their input file.")],
    sink: Annotated[
        Path, typer.Option("-o", "--output", metavar="ALL", help="File for all records; - is stdout.")
    ] = _STREAM,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace ALL if it exists.")] = False,
    text: TextInputOption = False,
    csv: CsvInputOption = False,
    tsv: TsvInputOption = False,
    assign_ids: Annotated[
        bool, typer.Option("--assign-ids", help="The shards used line numbers as ids.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="The shards' --limit.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, help="The shards' --sample.")
    ] = None,
    seed: Annotated[int, seed_option("The shards' --seed, which fixes the sample.")] = 0,
    out: TextOutput,
) -> None:
    """Merge the outputs of a batch's shards into one file, in the order of the input.

    ALL gets one record per request: an answer rather than a failure, and of several the one in the last OUT.
    Requests that are missing or failed are reported, and the exit code is then 3. To answer them, continue
    ALL with ossctl batch --resume.
    """
    from ossctl.app.batch.join import JoinJob
    from ossctl.app.user_text import output_file
    from ossctl.app.wire.chat_completions import custom_id_of, default_id
    from ossctl.app.wire.source import Source, given_format

    kind = given_format(source, formats_of(text=text, csv=csv, tsv=tsv))
    job = JoinJob(
        outputs,
        Source(None if source == _STREAM else source, kind, limit=limit, sample=sample, seed=seed),
        default_id if assign_ids else custom_id_of,
        output_file(sink),
        overwrite,
    )
    result = job.run()
    out.note(joined(result))
    for line in join_lines(result, job.target):
        out.warning(line)
    raise typer.Exit(result.exit_code)
