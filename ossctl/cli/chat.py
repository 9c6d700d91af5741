"""`ossctl chat`."""

import sys
from contextlib import closing
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.completion import complete_model, complete_preset, complete_session
from ossctl.cli.loading_options import CacheGroup, LoadingGroup
from ossctl.cli.offer import choose_model
from ossctl.cli.options import (
    ChatOutput,
    GenerationGroup,
    ModelOption,
    SystemOption,
    is_configured,
    is_given,
    source_of,
)
from ossctl.cli.output import Output
from ossctl.cli.template_options import TemplateGroup, template_of
from ossctl.cli.tool_options import OFFERING, ToolGroup
from ossctl.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ossctl.app.chat.background_load import ModelFile
    from ossctl.app.placement.load_options import LoadOptions
    from ossctl.planning.plan import Plan
    from ossctl.repl.setup import Setup


@command
def chat(
    *,
    context: typer.Context,
    model: ModelOption = None,
    go_on: Annotated[bool, typer.Option("-c", "--continue", help="Continue the latest chat.")] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="ID",
            show_default=False,
            autocompletion=complete_session,
            help="Continue this chat; `ossctl sessions list` shows IDs.",
        ),
    ] = None,
    system: SystemOption = "",
    obey: Annotated[
        bool,
        typer.Option("--commands", help="Run slash commands and attach @path files in piped input too."),
    ] = False,
    tools: ToolGroup,
    generation: GenerationGroup,
    template: TemplateGroup,
    loading: LoadingGroup,
    cache: CacheGroup,
    out: ChatOutput,
) -> None:
    """Chat with a model.

    The prompt appears at once, while the model loads; /help lists commands and keys. Every chat is saved
    as you go. Piped input is answered line by line, with only the answers on stdout.
    """
    from ossctl.app.chat.start import StartOptions, start_chat
    from ossctl.app.sessions.chat_settings import ChatSettings
    from ossctl.app.sessions.session_log import open_session_log
    from ossctl.repl.chat_model import ChatModel
    from ossctl.repl.setup import Setup
    from ossctl.settings import Paths

    out.open_stdout()
    loading = replace(loading, cache_bytes=cache)
    if resume is not None and go_on:
        raise UsageError("--continue and --resume cannot be combined", "Use one of them.")
    tools.refuse_unaskable(can_ask=_is_interactive(out))
    paths = Paths.from_environment()
    generation = replace(generation, system=system, template_variables=template.values())
    settings = ChatSettings.of(generation)
    start = StartOptions(settings, _given(context), resume, go_on, tools.toolbox())
    started, resumed = start_chat(start, open_session_log(paths.sessions))
    if resumed is not None and resumed.model.reference and is_configured(context, "model"):
        model = None
    loading = replace(loading, template=template_of(template, resumed if model is None else None))
    reference = model or (resumed.model.reference if resumed else None) or None
    setup = Setup(
        chat=started,
        model=ChatModel(reference, loading, lambda wanted: _model_file(wanted, loading)),
        history=paths.history,
        describe_plan=lambda name, plan: _plan_lines(name, plan, out),
        model_names=lambda: complete_model(""),
        preset_names=lambda: complete_preset(""),
        resumed=resumed,
        may_run_all=tools.unasked,
        new_python=tools.new_python,
        needs_tools=any(is_given(context, name) for name in OFFERING),
        obeys=obey or _is_interactive(out),
    )
    try:
        with closing(started):
            _talk(setup, reference, loading, out)
    except ModelError as error:
        if resumed is None or model is not None:
            raise
        hint = f"`ossctl chat --resume {resumed.id} -m MODEL` continues with another model."
        raise ModelError(f"the model of this chat: {error.message}", f"{hint} {error.hint}".strip()) from None


def _talk(setup: "Setup", reference: str | None, loading: "LoadOptions", out: Output) -> None:
    """Chat on the terminal, or answer the lines of a pipe."""
    from ossctl.repl.piped import run_piped

    if _is_interactive(out):
        _run_interactive(setup, reference, loading, out)
    elif failure := run_piped(setup):
        raise typer.Exit(failure.exit_code)


def _is_interactive(out: Output) -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and out.on_terminal


def _run_interactive(setup: "Setup", reference: str | None, loading: "LoadOptions", out: Output) -> None:
    """Chat on the terminal. If the model is not on this machine, offer to fetch it and start again."""
    from ossctl.repl.interactive import run_interactive

    try:
        run_interactive(setup)
    except ModelError as error:
        from ossctl.app.library.resolve import NotPulled

        if not isinstance(error, NotPulled):
            raise
        choose_model(reference, loading, out)
        run_interactive(setup)


def _given(context: typer.Context) -> list[str]:
    """Names of the settings that come from the command line or the environment."""
    from ossctl.app.sessions.chat_settings import ChatSettings

    given = ("COMMANDLINE", "ENVIRONMENT")
    return [field.name for field in fields(ChatSettings) if source_of(context, field.name) in given]


def _model_file(reference: str | None, loading: "LoadOptions") -> "ModelFile":
    """Find the model that -m names. Raises ModelError, UsageError, MemoryShortage."""
    from ossctl.app.chat.background_load import ModelFile
    from ossctl.app.library.resolve import choose, is_path

    choice = choose(reference, loading)
    if reference is not None and is_path(reference):
        reference = str(choice.path.absolute())  # the chat may be continued from another folder
    return ModelFile(reference or "", choice.path, choice.warning)


def _plan_lines(name: str, plan: "Plan", out: Output) -> "Iterable[str]":
    from ossctl.app.plan.report import Report
    from ossctl.cli.plan_view import describe_plan

    return describe_plan(Report(name, plan.machine, plan, here=True), plan, out)
