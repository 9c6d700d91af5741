"""Replaces `${VAR}` in the values of `mcpServers` files, in Claude Code's and in Cursor's spelling."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ossctl.errors import UsageError

# ${VAR} and ${VAR:-default} as Claude Code has them, ${env:VAR} as Cursor and VS Code.
_VARIABLE = re.compile(
    r"\$\{(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{(?P<other>[^}]*)\}"
)


class Variables:
    """Replaces variables, and notes the values of the environment that it has put in."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self.used: set[str] = set()

    def replaced(self, text: str, where: str) -> str:
        """`text` with the values of its variables. Raises UsageError, which names `where`."""
        return _VARIABLE.sub(lambda found: self._value(found, where), text)

    def _value(self, found: re.Match[str], where: str) -> str:
        name = found["name"] or found["other"]
        if name in _PLACES:
            return _PLACES[name]()
        if not found["name"]:
            raise UsageError(f"{where}: ${{{name}}} cannot be replaced", "Write the value, or ${VAR}.")
        if value := self._environment.get(name):
            self.used.add(value)
            return value
        if (default := found["default"]) is None:
            raise UsageError(
                f"{where}: the environment variable {name} is not set",
                f"Set it, or write ${{{name}:-default}}.",
            )
        return default


# Cursor's own variables.
_PLACES: Mapping[str, Callable[[], str]] = {
    "userHome": lambda: os.path.expanduser("~"),  # noqa: PTH111 (never raises)
    "workspaceFolder": lambda: str(Path.cwd()),
    "workspaceFolderBasename": lambda: Path.cwd().name,
    "pathSeparator": lambda: os.sep,
    "/": lambda: os.sep,
}
