"""What is configured about one MCP server, whatever it was read from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

_SECRET_CHARACTERS = 6  # shorter values are words like `true`, which errors may well contain


@dataclass(frozen=True)
class McpServer:
    """An MCP server: a program that is started, or a URL.

    `shown` is the program or URL for the user, without secrets. `tools` are patterns of the functions to
    offer, by their names on the server; `allow` of those that run without asking. `env` is added to a safe
    default environment.
    """

    name: str
    argv: tuple[str, ...] = ()
    url: str = ""
    shown: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    tools: tuple[str, ...] = ("*",)
    allow: tuple[str, ...] = ()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    def offers(self, tool: str) -> bool:
        """Whether a function of the server is to be offered to the model."""
        return matches(tool, self.tools)

    def allows(self, tool: str) -> bool:
        """Whether a function of the server may run without asking."""
        return matches(tool, self.allow)

    def masked(self, text: str) -> str:
        """`text` without the values that the server was given in secret."""
        values = {*self.secrets, *self.env.values()}
        for header in self.headers.values():
            values.update((header, header.rpartition(" ")[2]))
        secrets = sorted(
            (value for value in values if len(value) >= _SECRET_CHARACTERS), key=len, reverse=True
        )
        return re.sub("|".join(map(re.escape, secrets)), "***", text) if secrets else text


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name matches one of the patterns, in which `*` stands for any characters."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
