"""The group of options for functions that the model may call."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ossctl.app.tools.options import ToolOptions


def tool_options(
    *,
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
            help="Answers with calls to one message; then the model has to answer.",
        ),
    ] = 32,
    mcp: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]COMMAND|URL|FILE.json",
            show_default=False,
            help="MCP server whose functions the model may call, or a file of mcpServers.",
        ),
    ] = None,
    mcp_tools: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            show_default=False,
            help="Functions of MCP servers to offer, such as files_*. Default: all, if not too many.",
        ),
    ] = None,
    unasked: Annotated[bool, typer.Option("-y", "--yes", help="Run tool programs without asking.")] = False,
) -> "ToolOptions":
    """Which functions the model may call, and which programs answer."""
    from ossctl.app.tools.options import ToolOptions

    return ToolOptions(tools or (), commands or (), seconds, max_rounds, unasked, mcp or (), mcp_tools or ())


ToolGroup = Annotated["ToolOptions", tool_options]
