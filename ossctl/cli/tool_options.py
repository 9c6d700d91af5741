"""The group of options for functions that the model may call."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ossctl.cli.options import is_given
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.tools.options import ToolOptions


# Parameters that give the model functions.
OFFERING = ("tools", "commands", "python", "python_in", "shared_files", "browser", "mcp")


def tool_options(
    *,
    context: typer.Context,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tool",
            metavar="NAME=FILE",
            show_default=False,
            help="Function that the model may call; FILE is the JSON schema of its arguments.",
        ),
    ] = None,
    commands: Annotated[
        list[str] | None,
        typer.Option(
            "--tool-cmd",
            metavar="NAME=COMMAND",
            show_default=False,
            help="Program that answers calls of NAME: arguments as JSON on stdin, result on stdout.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--tool-timeout", metavar="SECONDS", min=0.1, help="Time limit per tool call.")
    ] = 60.0,
    max_rounds: Annotated[
        int,
        typer.Option(
            "--tool-rounds",
            metavar="N",
            min=1,
            help="Maximum rounds of tool calls per message; after them, the model has to answer.",
        ),
    ] = 32,
    python: Annotated[bool, typer.Option("--python", help="Let the model run Python in a sandbox.")] = False,
    python_in: Annotated[
        Literal["monty", "bwrap", "container"] | None,
        typer.Option(
            show_default="the first that works", help="Sandbox for the model's Python; implies --python."
        ),
    ] = None,
    python_files: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", show_default=False, help="Folder that the model's Python can read, as /mnt/data."
        ),
    ] = None,
    unasked: Annotated[
        bool, typer.Option("-y", "--yes", help="Run tool programs and change files without asking.")
    ] = False,
    shared_files: Annotated[
        str,
        typer.Option(
            "--files",
            metavar="DIR[:rw]",
            show_default=False,
            help="Folder whose files the model may read; with :rw also change.",
        ),
    ] = "",
    browser: Annotated[
        str,
        typer.Option(
            "--browser",
            metavar="DIR|web|mcp:COMMAND|mcp:URL",
            show_default=False,
            help="Documents that the model may search and cite: a folder, the web, or an MCP search server.",
        ),
    ] = "",
    mcp: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]COMMAND|URL|FILE.json|SERVER",
            show_default=False,
            help="MCP server whose functions the model may call, a file of mcpServers, or the name of "
            "a server in a config file.",
        ),
    ] = None,
    mcp_tools: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            show_default=False,
            help="Functions of MCP servers to offer, such as files_*.  [default: all, unless there are "
            "too many]",
        ),
    ] = None,
) -> "ToolOptions":
    """Which functions the model may call, and what answers. Raises UsageError for options without effect."""
    from ossctl.app.tools.options import ToolOptions

    options = ToolOptions(
        tools or (),
        commands or (),
        seconds,
        max_rounds,
        unasked=unasked,
        python=python,
        python_in=python_in,
        python_files=python_files,
        files=shared_files,
        browser=browser,
        mcp=mcp or (),
        mcp_tools=mcp_tools or (),
    )
    _refuse_unused(context, options)
    return options


def _refuse_unused(context: typer.Context, options: "ToolOptions") -> None:
    """Raise UsageError if the command line itself, not a preset or a file, has an option without effect."""
    if options.mcp_tools and not options.mcp and _is_typed(context, "mcp_tools"):
        raise UsageError("--mcp-tools needs --mcp")
    # In a chat, /python may add functions later.
    if not options.running and context.info_name != "chat" and _is_typed(context, "max_rounds"):
        raise UsageError("--tool-rounds needs functions that run here", "For instance, add --python.")


def _is_typed(context: typer.Context, option: str) -> bool:
    from ossctl.cli.configured import applied_to

    return is_given(context, option) and applied_to(context).setting(option, "COMMANDLINE") is None


ToolGroup = Annotated["ToolOptions", tool_options]
