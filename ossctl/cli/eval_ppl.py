"""`ossctl eval ppl`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.command import command, redeclared
from ossctl.cli.completion import complete_model
from ossctl.cli.loading_options import loading_options, tokens_or_max
from ossctl.cli.offer import model_file
from ossctl.cli.options import JsonOutput
from ossctl.cli.ppl_view import ppl_lines, ppl_progress, ppl_record
from ossctl.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from ossctl.app.placement.load_options import LoadOptions

# No environment variable: it is about the text, not about the memory of a chat.
_Ctx = Annotated[
    str | None,
    typer.Option(
        "--ctx", metavar="N|max", parser=tokens_or_max, help="Tokens per chunk of the text.  [default: 512]"
    ),
]


@command
def ppl(
    *,
    text: Annotated[Path, typer.Argument(metavar="FILE", help="UTF-8 text of any length; - is stdin.")],
    models: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="MODEL[,MODEL]",
            envvar="OSSCTL_MODEL",
            autocompletion=complete_model,
            help="Models to measure, one after the other.  [default: the largest gpt-oss on this machine]",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="MODEL",
            autocompletion=complete_model,
            help="Also measure the KL divergence of each model from MODEL, such as the original of a "
            "quantisation.",
        ),
    ] = None,
    chunks: Annotated[
        int | None,
        typer.Option("--chunks", metavar="N", min=1, help="Stop after N chunks.  [default: the whole text]"),
    ] = None,
    loading: Annotated["LoadOptions", redeclared(loading_options, ctx=_Ctx)],
    out: JsonOutput,
) -> None:
    """Measure the perplexity of a text, as llama-perplexity does.

    Each chunk of --ctx tokens is decoded on its own, and the tokens of its second half are scored. With
    --against, the KL divergence from another model is computed as well; its log-probabilities are kept
    in a temporary file, about 25 MB per chunk with a vocabulary of 50,000 tokens. Ctrl-C ends the measurement
    and prints what is complete.
    """
    from ossctl.app.eval.perplexity.run import NamedModel, PerplexityOptions, measure_models

    out.open_stdout()
    names: list[str | None] = [None] if models is None else [*_names(models)]
    found = [
        NamedModel(name or path.stem, path) for name in names for path in [model_file(name, loading, out)]
    ]
    base = None if against is None else NamedModel(against, model_file(against, loading, out))
    options = PerplexityOptions(found, text, base, chunks, loading)
    with ppl_progress(out) as progress:
        report = measure_models(options, progress)
    out.json({"schema": "ossctl.perplexity/1", **ppl_record(report)})
    out.lines(ppl_lines(report))
    if report.signal:
        raise Interrupted(report.signal, "The results are those of the chunks that were complete.")


def _names(models: str) -> list[str]:
    from ossctl.app.library.references import split_references

    names = split_references([models])
    if len(set(names)) < len(names):
        raise UsageError(f"-m {models} names a model twice")
    return names
