"""The servers that `--mcp` gives: a command, a URL or a file, each with a name if the user wants."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.mcp.server_file import checked_url, server_of, servers_of_file, shown_url
from ossctl.app.tools.processes import argv_of
from ossctl.config.config import load_config
from ossctl.config.paths import has_config
from ossctl.errors import UsageError

_NAMED = re.compile(r"(?P<name>[A-Za-z0-9_-]{1,32})=(?P<rest>.*)", re.DOTALL)
_URL = re.compile(r"https?://", re.IGNORECASE)

# Programs that run another one, which is named by the first word that is no option.
_RUNNERS = {
    "npx",
    "bunx",
    "uvx",
    "uv",
    "pipx",
    "node",
    "deno",
    "bun",
    "python",
    "python3",
    "docker",
    "podman",
}
_VERBS = {"run", "exec", "tool", "x", "dlx"}


def servers_given(given: Iterable[str], option: str = "--mcp") -> list[McpServer]:
    """The servers that `option` names, each with a name of its own. Raises UsageError."""
    servers: list[McpServer] = []
    for text in given:
        for server in _servers(text, option):
            taken = {other.name for other in servers}
            if server.name in taken and _NAMED.fullmatch(text):
                raise UsageError(f"{option}: there are two servers with the name {server.name}")
            servers.append(replace(server, name=_free(server.name, taken)))
    return servers


def _servers(text: str, option: str) -> list[McpServer]:
    named = None if _URL.match(text) else _NAMED.fullmatch(text)
    name, rest = (named["name"], named["rest"].strip()) if named else ("", text.strip())
    if not rest:
        where = f"{option} {text}".rstrip()
        raise UsageError(f"{where}: expected a command, a URL or a file of mcpServers")
    if _URL.match(rest):
        return [McpServer(name or _of_url(rest), url=checked_url(rest, option), shown=shown_url(rest))]
    if has_config() and (configured := load_config().server(rest)):
        table, where = configured
        return [server_of(name or rest, dict(table), where)]
    if rest.endswith(".json") and (Path(rest).is_file() or " " not in rest):
        return _of_file(Path(rest), name)
    return [_of_command(rest, name, option)]


def _of_file(file: Path, name: str) -> list[McpServer]:
    """The servers of a file; only the one called `name`, if that is given."""
    servers = servers_of_file(file)
    chosen = [server for server in servers if name in {"", server.name}]
    if not chosen:
        names = ", ".join(server.name for server in servers)
        raise UsageError(f"{file} has no server {name}" if name else f"{file} has no servers", names)
    return chosen


def _of_command(command: str, name: str, option: str) -> McpServer:
    argv = argv_of(command, f"{option} {command}")
    return McpServer(name or _of_program(argv), argv=argv, shown=command)


def _of_url(url: str) -> str:
    """A name from the host: `linear` for https://mcp.linear.app/mcp."""
    labels = (urlsplit(url).hostname or "").split(".")
    telling = [label for label in labels if label not in {"mcp", "www", "api"}]
    return "server" if labels[-1].isdecimal() else (telling or labels)[0]


def _of_program(argv: Sequence[str]) -> str:
    """A name from the program, or the package that a runner starts: `filesystem` for server-filesystem."""
    words = [word for word in argv if not word.startswith("-")]
    while len(words) > 1 and (PurePath(words[0]).stem in _RUNNERS or words[0] in _VERBS):
        words = words[1:]
    stem = re.split(r"[@:]", PurePath(words[0]).name)[0].removesuffix(".exe")
    stem = re.sub(r"\.(py|js|mjs|ts|sh)$", "", stem)
    return re.sub(r"^(mcp[-_])?(server[-_])?|[-_](mcp|server|mcp[-_]server)$", "", stem) or stem or "server"


def _free(name: str, taken: set[str]) -> str:
    """`name`, or with a number if it is taken."""
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free
