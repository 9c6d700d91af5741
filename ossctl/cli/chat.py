"""`ossctl chat`."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ossctl.cli.offer import choose_model
from ossctl.cli.options import (
    AllowToolsOption,
    CpuMoeOption,
    CtxOption,
    DateOption,
    DeviceOption,
    EffortOption,
    GpuLayersOption,
    KvOption,
    MaxReasoningTokensOption,
    MaxTokensOption,
    MinPOption,
    ModelOption,
    ParallelOption,
    SeedOption,
    StopOption,
    SystemOption,
    TemperatureOption,
    ThreadsOption,
    ToolCommandsOption,
    ToolsOption,
    ToolTimeoutOption,
    TopKOption,
    TopPOption,
    UbatchOption,
    VerboseOption,
    complete_session,
)
from ossctl.cli.output import open_stdout, show_log
from ossctl.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ossctl.app.chat.background_load import ModelFile
    from ossctl.app.placement.load_options import LoadOptions
    from ossctl.planning.plan import Plan
    from ossctl.repl.setup import Setup


def chat(
    context: typer.Context,
    model: ModelOption = None,
    go_on: Annotated[bool, typer.Option("-c", "--continue", help="Go on with the latest chat.")] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="ID",
            show_default=False,
            autocompletion=complete_session,
            help="Go on with this one; `ossctl sessions list` shows all.",
        ),
    ] = None,
    system: SystemOption = "",
    tools: ToolsOption = None,
    tool_commands: ToolCommandsOption = None,
    tool_seconds: ToolTimeoutOption = 60.0,
    yes: AllowToolsOption = False,
    effort: EffortOption = None,
    max_tokens: MaxTokensOption = None,
    max_reasoning_tokens: MaxReasoningTokensOption = None,
    temperature: TemperatureOption = 1.0,
    top_p: TopPOption = 1.0,
    top_k: TopKOption = 0,
    min_p: MinPOption = 0.0,
    seed: SeedOption = None,
    stop: StopOption = None,
    date: DateOption = None,
    ctx: CtxOption = None,
    parallel: ParallelOption = None,
    gpu_layers: GpuLayersOption = None,
    cpu_moe: CpuMoeOption = None,
    kv: KvOption = None,
    ubatch: UbatchOption = None,
    threads: ThreadsOption = 0,
    device: DeviceOption = None,
    verbose: VerboseOption = 0,
) -> None:
    """Talk with a model.

    The prompt is there at once, while the model loads; /help shows the commands and keys. Every chat is saved
    as it goes on. What is piped in is answered line by line, with the answers alone on stdout.
    """
    from ossctl.app.chat.answer_loop import Tools
    from ossctl.app.chat.chat_settings import ChatSettings
    from ossctl.app.chat.session_log import open_session_log
    from ossctl.app.chat.start import StartOptions, start_chat
    from ossctl.app.placement.load_options import LoadOptions
    from ossctl.app.tools.options import tools_of
    from ossctl.app.user_text import text_of
    from ossctl.repl.chat_model import ChatModel
    from ossctl.repl.piped import run_piped
    from ossctl.repl.setup import Setup
    from ossctl.settings import Paths

    show_log(verbose)
    open_stdout()
    if resume is not None and go_on:
        raise UsageError("--continue and --resume are two different chats", "Give one of them.")
    if not all(stop or ()):
        raise UsageError("--stop is an empty text")
    settings = ChatSettings(
        system=text_of(system),
        effort=effort,
        date=date.date() if isinstance(date, datetime) else None,
        max_tokens=max_tokens,
        max_reasoning_tokens=max_reasoning_tokens,
        stops=tuple(stop or ()),
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        seed=seed or 0,
    )
    paths = Paths.from_environment()
    functions = Tools(*tools_of(tools or (), tool_commands or (), tool_seconds))
    start = StartOptions(settings, _given(context), resume, go_on, functions)
    started, resumed = start_chat(start, open_session_log(paths.sessions))
    reference = model or (resumed.model.reference if resumed else None) or None
    loading = LoadOptions(ctx, parallel, gpu_layers, cpu_moe, kv, ubatch, threads, device)
    setup = Setup(
        chat=started,
        model=ChatModel(reference, loading, lambda wanted: _model_file(wanted, loading)),
        history=paths.history,
        describe_plan=_plan_lines,
        model_names=_model_names,
        resumed=resumed,
        may_run_all=yes,
    )
    interactive = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    try:
        if interactive:
            _run_interactive(setup, reference, loading)
        elif failure := run_piped(setup):
            raise typer.Exit(failure.exit_code)
    except ModelError as error:
        if resumed is None or model is not None:
            raise
        hint = f"`ossctl chat --resume {resumed.id} -m MODEL` goes on with another model."
        raise ModelError(f"the model of this chat: {error.message}", f"{hint} {error.hint}".strip()) from None


def _run_interactive(setup: "Setup", reference: str | None, loading: "LoadOptions") -> None:
    """With an offer to fetch a model that is not here, when that turns out."""
    from ossctl.repl.interactive import run_interactive

    try:
        run_interactive(setup)
    except ModelError as error:
        from ossctl.app.library.resolve import NotPulled

        if not isinstance(error, NotPulled):
            raise
        choose_model(reference, loading)
        run_interactive(setup)


# Fields of ChatSettings by the names of their options.
_SETTINGS = {
    "system": "system", "effort": "effort", "date": "date", "max_tokens": "max_tokens",
    "max_reasoning_tokens": "max_reasoning_tokens", "stop": "stops", "temperature": "temperature",
    "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed",
}  # fmt: skip


def _given(context: typer.Context) -> list[str]:
    """The settings that the command line or the environment names."""

    def is_given(option: str) -> bool:
        source: Any = context.get_parameter_source(option)
        return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")

    return [field for option, field in _SETTINGS.items() if is_given(option)]


def _model_file(reference: str | None, loading: "LoadOptions") -> "ModelFile":
    """What -m means. Raises ModelError, UsageError, MemoryShortage."""
    from ossctl.app.chat.background_load import ModelFile
    from ossctl.app.library.resolve import choose, is_path

    choice = choose(reference, loading)
    if reference is not None and is_path(reference):
        reference = str(choice.path.absolute())  # a chat may go on from another folder
    return ModelFile(reference or "", choice.path, choice.warning)


def _model_names() -> list[str]:
    from ossctl.app.library.resolve import known_names

    return known_names()


def _plan_lines(name: str, plan: "Plan") -> "Iterable[str]":
    from ossctl.app.plan.report import Report
    from ossctl.cli.plan_view import describe_plan

    return describe_plan(Report(name, plan.machine, plan, here=True), plan)
