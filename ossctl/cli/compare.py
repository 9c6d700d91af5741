"""`ossctl compare`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.command import command, redeclared, without
from ossctl.cli.completion import complete_models
from ossctl.cli.contestants import ContestantGroup, given_model
from ossctl.cli.format_options import FormatGroup
from ossctl.cli.loading_options import CacheGroup, LoadingGroup
from ossctl.cli.options import SystemOption, TextOutput, generation_options, seed_option
from ossctl.cli.output import Output
from ossctl.cli.template_options import template_options
from ossctl.cli.tool_options import ToolGroup
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.compare.run import Outcome
    from ossctl.app.compare.store import Outputs
    from ossctl.app.inference.options import GenerationOptions
    from ossctl.app.inference.template_options import TemplateOptions

_Seed = Annotated[
    int | None, seed_option("Base seed: prompt i has seed N + i with every contestant.  [default: 0]")
]
_Generation = Annotated[
    "GenerationOptions", without(redeclared(generation_options, seed=_Seed), "effort", "think")
]
_Template = Annotated["TemplateOptions", without(template_options, "template")]


@command
def compare(
    *,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", show_default=False, help="The prompts, each in quotes; - is stdin."),
    ] = None,
    contestants: ContestantGroup,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            show_default=False,
            help="Prompts as .jsonl, as `ossctl batch` reads it, .csv or .tsv with a column prompt, or text "
            "with one prompt per line; - is stdin.",
        ),
    ] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option(
            "--template",
            metavar="FILE",
            show_default=False,
            help='Jinja file to use as the chat template; several are compared. "" is the model\'s own.',
        ),
    ] = None,
    sinks: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            show_default=False,
            help="Write the comparison to FILE.jsonl, .md or .html; can be repeated.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue FILE.jsonl: keep its answers, votes and verdicts.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    reasoning: Annotated[bool, typer.Option("--reasoning", help="Show the reasoning as well.")] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show a word diff of the first answer with each of the others.")
    ] = False,
    blind: Annotated[
        bool,
        typer.Option("--blind", help="Vote on pairs of answers without names; needs -o FILE.jsonl."),
    ] = False,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="MODEL",
            show_default=False,
            autocompletion=complete_models,
            help="Have another model judge each pair of answers, in both orders.",
        ),
    ] = None,
    system: SystemOption = "",
    formats: FormatGroup,
    generation: _Generation,
    template: _Template,
    tools: ToolGroup,
    loading: LoadingGroup,
    cache: CacheGroup,
    out: TextOutput,
) -> None:
    """Compare the answers of several models or settings to the same prompts.

    Every combination of the models, efforts and templates given answers all prompts, with the same seeds. One
    model is loaded after the other. A contestant that fails does not stop the others; the exit code is then
    3.
    """
    from ossctl.app.compare.options import CompareOptions
    from ossctl.app.compare.store import Outputs

    out.open_stdout()
    outputs = Outputs(sinks or (), overwrite, resume, diff, reasoning)
    _check_blind(out, outputs.kept, blind=blind, as_json=as_json)
    outputs.check()
    tools.refuse_unaskable(can_ask=False)
    loading = replace(loading, cache_bytes=cache)
    generation = replace(
        generation,
        system=system,
        template_variables=template.values(),
        from_environment=generation.from_environment | contestants.from_environment,
        **formats,
    )
    options = CompareOptions(
        prompts or (),
        file,
        contestants.efforts,
        contestants.thinks,
        templates or (),
        outputs,
        generation,
        tools,
    )
    options.settings()
    lines = options.prompts()
    found = contestants.models(loading, out)
    referee = None if judge is None else given_model(judge, loading, out)
    job = options.job(found, referee, lines, loading)
    if referee is not None and referee.path in [each.path for each in found]:
        out.warning(
            f"The judge {referee.name} is a contestant as well: models tend to prefer their own answers."
        )
    for note in job.tools.notes():
        out.note(note)
    from ossctl.app.compare.run import run_compare
    from ossctl.cli.compare_progress import CompareProgress

    with outputs:
        with CompareProgress(out, figures=not blind) as progress:
            outcome = run_compare(job, progress)
        raise typer.Exit(_finish(outcome, outputs, out, blind=blind, as_json=as_json))


def _finish(outcome: "Outcome", outputs: "Outputs", out: Output, *, blind: bool, as_json: bool) -> int:
    """Have the user vote, if wanted, and print everything."""
    from ossctl.app.compare.results import encoded
    from ossctl.cli.compare_view import ComparisonView

    comparison = outcome.comparison
    if ended := outcome.ended_by:
        out.error(ended.message, f"--resume continues {outputs.kept}." if outputs.kept else ended.hint)
    if as_json:
        out.write(encoded(comparison.records()).decode())
        return int(outcome.exit_code)
    view = ComparisonView(out, diff=outputs.diff, reasoning=outputs.reasoning)
    if not blind:
        view.show(comparison)
        return int(outcome.exit_code)
    if outcome.ended_by:
        return int(outcome.exit_code)
    from ossctl.cli.compare_votes import take_votes

    code = take_votes(comparison, outputs, view, out)
    outputs.write(comparison)
    view.summary(comparison)
    return int(code or outcome.exit_code)


def _check_blind(out: Output, kept: Path | None, *, blind: bool, as_json: bool) -> None:
    if not blind:
        return
    if as_json:
        raise UsageError(
            "--blind and --json cannot be combined", "-o FILE.jsonl keeps the votes as JSON lines."
        )
    if not (out.can_ask and out.on_terminal):
        raise UsageError("--blind asks for votes, and there is no terminal to ask on")
    if kept is None:
        raise UsageError("--blind needs a file that keeps the votes", "Give it with -o FILE.jsonl.")
