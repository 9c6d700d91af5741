"""Reads `mcpServers` files, which Cursor, Claude and llama-server share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ossctl.app.inference.options import json_object
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.mcp.variables import Variables
from ossctl.app.user_text import read_text
from ossctl.build import command_line
from ossctl.errors import UsageError

_TYPES = {"stdio": "command", "http": "url", "streamable-http": "url", "streamableHttp": "url"}


def servers_of_file(file: Path) -> list[McpServer]:
    """The servers of a file, without those that it disables. Raises UsageError."""
    content = json_object(read_text(file), str(file))
    servers = content.get("mcpServers")
    if not isinstance(servers, dict):
        raise UsageError(f"{file}: there is no object mcpServers")
    return [
        server_of(name, table, f"{file}: {name}")
        for name, table in servers.items()
        if not (isinstance(table, dict) and table.get("disabled") is True)
    ]


def server_of(name: str, table: Any, where: str) -> McpServer:
    """A server from its table in a file. Raises UsageError, which names `where` and the key.

    Keys that other programs have added are ignored.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{where} is not an object")
    values = _Values(table, where)
    if "envFile" in table:
        raise UsageError(f"{where}: envFile is not supported", "Write the variables into env.")
    command, url = values.text("command"), values.text("url")
    if bool(command) == bool(url):
        raise UsageError(f"{where}: expected either command or url")
    if kind := values.text("type"):
        _check_type(kind, "command" if command else "url", where)
    words = values.texts("args")
    raw = [table["command"], *table.get("args", ())] if command else []
    return McpServer(
        name=name,
        argv=(command, *words) if command else (),
        url=checked_url(url, where) if url else "",
        shown=command_line(raw) if command else shown_url(table["url"]),
        env=values.mapping("env"),
        headers=values.mapping("headers"),
        cwd=values.text("cwd") or None,
        tools=values.texts("tools", ("*",)),
        allow=values.texts("allow"),
        secrets=frozenset(values.variables.used),
    )


def _check_type(kind: str, has: str, where: str) -> None:
    if kind not in _TYPES:
        hint = "Most servers that speak sse speak http as well." if kind == "sse" else ""
        raise UsageError(f"{where}: type {kind} is not supported; use stdio or http", hint)
    if _TYPES[kind] != has:
        raise UsageError(f"{where}: type {kind} does not fit the {has}")


def checked_url(url: str, where: str) -> str:
    """`url` if it is one of HTTP. Raises UsageError."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{where}: {shown_url(url)} is not a URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"{where}: {shown_url(url)} is not the URL of an HTTP server")
    return url


def shown_url(url: str) -> str:
    """`url` without what may be secret: user, password, query and fragment."""
    scheme, slashes, rest = url.partition("?")[0].partition("#")[0].partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


class _Values:
    """The values of a server's table, with their variables replaced."""

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        self._table = table
        self._where = where
        self.variables = Variables()

    def text(self, key: str) -> str:
        value = self._checked(key, "a string", lambda value: isinstance(value, str), "")
        return self.variables.replaced(value, f"{self._where}: {key}")

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        values = self._checked(key, "a list of strings", _all_text, default)
        return tuple(self.variables.replaced(value, f"{self._where}: {key}") for value in values)

    def mapping(self, key: str) -> dict[str, str]:
        values = self._checked(key, "an object of strings", _mapping_of_text, {})
        return {
            name: self.variables.replaced(value, f"{self._where}: {key}.{name}")
            for name, value in values.items()
        }

    def _checked(self, key: str, kind: str, fits: Callable[[Any], bool], default: Any) -> Any:
        value = self._table.get(key, default)
        if value is not default and not fits(value):
            raise UsageError(f"{self._where}: {key} is not {kind}")
        return value


def _all_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _mapping_of_text(value: Any) -> bool:
    return isinstance(value, dict) and _all_text(list(value.values()))
