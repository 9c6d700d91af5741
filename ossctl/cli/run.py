"""`ossctl run`."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.format_options import FormatGroup
from ossctl.cli.loading_options import CacheGroup, LoadingGroup
from ossctl.cli.log_options import LogGroup, continued_file, kept_model
from ossctl.cli.offer import model_file
from ossctl.cli.options import (
    GenerationGroup,
    ModelOption,
    SystemOption,
    TextOutput,
    VariablesOption,
    is_given,
    is_standing,
    is_typed,
    variables_of,
)
from ossctl.cli.template_options import TemplateGroup, template_of
from ossctl.cli.tool_options import ToolGroup
from ossctl.errors import OssctlError, UsageError


@command
def run(
    *,
    context: typer.Context,
    prompt: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT", show_default=False, help="The prompt; words are joined with spaces."
        ),
    ] = None,
    model: ModelOption = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            show_default=False,
            help="Text file to append to the prompt; can be repeated.",
        ),
    ] = None,
    template_prompt: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--prompt",
            metavar="TEMPLATE|@FILE",
            show_default=False,
            help="Jinja template for the prompt; {{ input }} is the prompt text.",
        ),
    ] = None,
    variables: VariablesOption = None,
    system: SystemOption = "",
    raw: Annotated[
        bool, typer.Option("--raw", help="Send the prompt as it is, without a chat template.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.")] = False,
    extract: Annotated[
        bool, typer.Option("-x", "--extract", help="Print only the first code block.")
    ] = False,
    show_reasoning: Annotated[
        bool, typer.Option("--show-reasoning", help="Print the reasoning on stderr.")
    ] = False,
    sink: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write the complete answer to FILE; - is stdout."
        ),
    ] = None,
    count: Annotated[int, typer.Option("--n", metavar="N", min=1, max=64, help="Generate N answers.")] = 1,
    tools: ToolGroup,
    serve_stdin: Annotated[
        bool,
        typer.Option(
            "--serve-stdin",
            help="Keep the model loaded: one JSON request per line on stdin, events on stdout.",
        ),
    ] = False,
    log: LogGroup,
    formats: FormatGroup,
    generation: GenerationGroup,
    template: TemplateGroup,
    loading: LoadingGroup,
    cache: CacheGroup,
    out: TextOutput,
) -> None:
    """Answer one prompt on stdout.

    Piped text is appended to the prompt in a code fence; without a prompt, it is the prompt. Only the answer
    goes to stdout. The exit code is 6 if the answer was cut off, 7 if the model repeated itself, 8 if it
    refused and 1 if it gave no answer.
    """
    from ossctl.app.run.options import RunOptions
    from ossctl.app.run.progress import RunProgress
    from ossctl.app.run.run import run as ask
    from ossctl.app.user_text import output_file
    from ossctl.cli.run_output import RunOutput

    out.open_stdout()
    sink = output_file(sink)
    if serve_stdin:
        log.refuse("--serve-stdin")
    saved = log.earlier.saved if log.earlier and not is_given(context, "model") else None
    model = (saved.model.reference if saved else None) or model
    loading = replace(loading, cache_bytes=cache, template=template_of(template, saved))
    if raw and loading.template is not None:
        raise UsageError("--template cannot be used with --raw", "It is a chat format.")
    tools.refuse_unaskable(can_ask=out.can_ask and not serve_stdin)
    if not serve_stdin and loading.parallel is not None and not is_standing(context, "parallel"):
        raise UsageError("--parallel is for --serve-stdin", "Use --n for several answers.")
    own = template.values()
    generation = replace(generation, system=system, template_variables=own, **formats)
    options = RunOptions(
        prompt or (),
        files or (),
        generation,
        tools,
        raw,
        count,
        sink,
        template_prompt,
        variables_of(context, variables, template_prompt),
        log.earlier,
    )
    if serve_stdin:
        from ossctl.app.run.serve import serve

        if as_json or extract:
            raise UsageError("--json and --extract have no meaning with --serve-stdin")
        defaults = options.defaults_for_lines()
        toolbox = tools.toolbox()
        for note in toolbox.notes():
            out.note(note)
        defaults = replace(defaults, tools=toolbox.offered)
        serve(model_file(model, loading, out), loading, defaults, toolbox, out.warning)
        return
    request = options.request()
    if request.spec.conversation.json_format is None and is_typed(context, "schema_retries"):
        raise UsageError("--schema-retries needs --schema", "Without a schema, any answer fits.")
    for note in request.tools.notes():
        out.note(note)
    path = continued_file(saved, model, loading, out)
    view = RunOutput(
        out,
        as_json=as_json,
        extract=extract,
        whole=request.spec.conversation.formatted or request.tools.runs_tools or count > 1,
        show_reasoning=show_reasoning,
        yes=tools.unasked,
        sink=sink,
    )
    progress = RunProgress()
    progress.keep = partial(
        log.keep, progress, request, partial(kept_model, model, path, loading), out.warning
    )
    try:
        try:
            result = ask(request, path, loading, view, progress)
        except OssctlError:
            view.broke_off()
            raise
        code = view.finish(result)
    finally:
        progress.keep()
    raise typer.Exit(code)
