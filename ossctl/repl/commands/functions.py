"""`/tools`, `/python` and `/mcp`: the functions that the model may call."""

from typing import TYPE_CHECKING

from ossctl.errors import UsageError
from ossctl.text import counted, one_line

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl


def tools(repl: "Repl", _argument: str) -> None:
    """`/tools`"""
    tools = repl.chat.tools
    if not tools.offered:
        repl.say("There are no functions. `ossctl chat --tool-cmd NAME=COMMAND` offers one to the model.")
    for tool in tools.offered:
        repl.say(f"{tool.name}: {tool.description or 'no description'} ({tools.describe(tool.name)})")


def python(repl: "Repl", argument: str) -> None:
    """`/python [on|off]`"""
    source = repl.chat.tools.by_name.get("python")
    if argument == "on" and source is None:
        if repl.new_python is None:
            raise UsageError("this chat has no Python")
        repl.chat.offer(repl.new_python())
    elif argument == "off" and source is not None:
        repl.chat.withdraw(source)
    source = repl.chat.tools.by_name.get("python")
    if source is None:
        repl.say("The model has no Python.")
        return
    repl.say(f"The model may run Python: {source.describe('python')}.", *source.notes())


def mcp(repl: "Repl", wanted: str) -> None:
    """`/mcp [TEXT]`"""
    from ossctl.app.tools.mcp.source import McpSource

    servers = [
        server
        for source in repl.chat.tools.sources
        if isinstance(source, McpSource)
        for server in source.servers()
    ]
    if not servers:
        repl.say("There are no MCP servers. `ossctl chat --mcp COMMAND` starts one.")
    for server in servers:
        error = f": {server.error}" if server.error else ""
        functions = counted(len(server.tools), "function")
        repl.say(f"{server.name} ({server.shown}): {server.state}, {functions}{error}")
    named = {name for server in servers for name in server.tools}
    for tool in repl.chat.tools.offered if wanted else ():
        if tool.name in named and wanted.casefold() in f"{tool.name} {tool.description}".casefold():
            repl.say(f"  {tool.name}: {one_line(tool.description) or 'no description'}")
