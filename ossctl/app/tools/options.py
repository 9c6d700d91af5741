"""The functions that the options give the model."""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.app.inference.options import json_object
from ossctl.app.tools.command import ToolCommand, ToolCommands
from ossctl.app.tools.processes import argv_of
from ossctl.app.tools.source import ToolSource
from ossctl.app.tools.toolbox import MAX_ROUNDS, Toolbox
from ossctl.app.user_text import read_text
from ossctl.dialect import Tool
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.tools.python.source import PlaceName, PythonSource

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class ToolOptions:
    """The tool options as they were given. `unasked` runs programs without asking the user.

    The model gets Python if `python`, or if `python_in` names the place to run it. The code can read the
    folder `python_files`. `mcp` are commands, URLs and files of MCP servers, `mcp_tools` the patterns of
    their functions to offer.
    """

    tools: Sequence[str] = ()
    commands: Sequence[str] = ()
    seconds: float = 60.0
    max_rounds: int = MAX_ROUNDS
    unasked: bool = False
    python: bool = False
    python_in: "PlaceName | None" = None
    python_files: Path | None = None
    files: str = ""  # DIR or DIR:rw
    browser: str = ""  # DIR, web or mcp:SERVER
    mcp: Sequence[str] = ()
    mcp_tools: Sequence[str] = ()

    @property
    def running(self) -> Sequence[str]:
        """The options that give the model functions which run here."""
        given = {
            "--tool-cmd": self.commands,
            "--python": self.python,
            "--python-in": self.python_in,
            "--mcp": self.mcp,
            "--files": self.files,
            "--browser": self.browser,
        }
        return [option for option, value in given.items() if value]

    def refuse_unaskable(self, *, can_ask: bool) -> None:
        """Raise UsageError if programs need the user's consent and there is no terminal to ask on."""
        if self.unasked or can_ask:
            return
        if self.commands:
            raise UsageError(
                "--tool-cmd runs programs, and there is no terminal to ask on", "Give --yes to allow it."
            )
        if self.mcp:
            from ossctl.app.tools.mcp.given import servers_given

            if asking := [each.name for each in servers_given(self.mcp) if not each.allow]:
                raise UsageError(
                    f"--mcp {asking[0]} needs your consent to each call, and there is no terminal to ask on",
                    "Give --yes to allow all, or name functions in the server's `allow`.",
                )
        if self.files.endswith(":rw"):
            raise UsageError(
                f"--files {self.files} changes files, and there is no terminal to ask on",
                "Give --yes to allow it, or leave out :rw.",
            )

    def new_python(self) -> "PythonSource":
        """The function `python`. Raises UsageError."""
        from ossctl.app.tools.python.interpreter import Limits  # only where it is used: starts stay fast
        from ossctl.app.tools.python.source import PythonSource

        return PythonSource(self.python_in, Limits(self.seconds), self.python_files)

    def toolbox(self) -> Toolbox:
        """The functions that the options give the model. Nothing is started. Raises UsageError.

        A function of `--tool-cmd` without a `--tool` takes no arguments.
        """
        declared = {name: _tool(name, Path(file)) for name, file in _pairs(self.tools, "--tool", "FILE")}
        programs = {
            name: ToolCommand(_argv(name, command), self.seconds)
            for name, command in _pairs(self.commands, "--tool-cmd", "COMMAND")
        }
        functions = tuple(declared.pop(name, Tool(name)) for name in programs)
        sources: list[ToolSource] = [ToolCommands(functions, programs)] if programs else []
        return Toolbox(
            [*sources, *self._sources()], tuple(declared.values()), self.max_rounds, unasked=self.unasked
        )

    def _sources(self) -> Iterator[ToolSource]:
        if self.python or self.python_in is not None:
            yield self.new_python()
        elif self.python_files is not None:
            raise UsageError("--python-files needs --python")
        if self.mcp:
            from ossctl.app.tools.mcp.given import servers_given
            from ossctl.app.tools.mcp.source import McpSource

            yield McpSource(servers_given(self.mcp), self.seconds, self.mcp_tools)
        if not self.files and not self.browser:
            return
        from ossctl.app.tools.folder_options import browser_source, files_source

        if self.files:
            yield files_source(self.files)
        if self.browser:
            yield browser_source(self.browser, self.seconds)


def _pairs(given: Sequence[str], option: str, what: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise UsageError(f"{option} {text}: expected NAME={what}")
        if not _NAME.fullmatch(name):
            raise UsageError(f"{option} {text}: the name must be 1 to 64 letters, digits, - and _")
        if name in dict(pairs):
            raise UsageError(f"{option}: {name} is given twice")
        pairs.append((name, value))
    return pairs


def _tool(name: str, file: Path) -> Tool:
    """Read the JSON schema of a function's arguments, or a function in OpenAI's format."""
    content = json_object(read_text(file), str(file))
    function = content.get("function", content)
    if not isinstance(function, dict):
        raise UsageError(f"{file}: `function` is not an object")
    if "parameters" in function:
        content = function["parameters"]
    description = function.get("description", "")
    if not isinstance(content, dict) or content.get("type", "object") != "object":
        raise UsageError(f"{file} is not the JSON schema of an object")
    if not isinstance(description, str):
        raise UsageError(f"{file}: the description is not a string")
    parameters = {key: value for key, value in content.items() if key != "description"}
    return Tool(name, description, parameters, strict=function.get("strict") is True)


def _argv(name: str, command: str) -> tuple[str, ...]:
    argv = argv_of(command, f"--tool-cmd {name}")
    if not argv or shutil.which(argv[0]) is None:
        raise UsageError(f"--tool-cmd {name}: there is no program {argv[0] if argv else command}")
    return argv
