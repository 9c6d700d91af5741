"""What the options of `ossctl run` mean: texts, schemas, tools."""

import os
import re
import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.conversation import Defaults
from ossctl.app.generation_options import GenerationOptions, json_format_of, json_object, text_of
from ossctl.app.prompt import Attached, prompt_of, read_piped, read_text
from ossctl.app.question import Question
from ossctl.app.run import Asked
from ossctl.app.tool_commands import ToolCommand
from ossctl.dialect import Conversation, Message, Tool
from ossctl.errors import UsageError
from ossctl.storage.journal import refuse_existing

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What a stream of requests says line by line.
_ONE_ANSWER = {
    "words": "a prompt",
    "files": "--file",
    "system": "--system",
    "schema": "--schema",
    "tools": "--tool",
    "commands": "--tool-cmd",
    "raw": "--raw",
    "n": "--n",
    "sink": "--output",
}
_SEED_BITS = 32  # of a drawn one: short enough to type again


@dataclass(frozen=True)
class RunOptions(GenerationOptions):
    """The options as they were given; what each means is in the command's help."""

    words: Sequence[str] = ()
    files: Sequence[Path] = ()
    tools: Sequence[str] = ()
    commands: Sequence[str] = ()
    tool_seconds: float = 60.0
    raw: bool = False
    n: int = 1
    sink: Path | None = None

    def asked(self) -> Asked:
        """Read the files and standard input, and put the question. Raises UsageError."""
        self._refuse_contradictions()
        if self.sink is not None:
            refuse_existing(self.sink, overwrite=True)
        tools, commands = tools_of(self.tools, self.commands, self.tool_seconds)
        json_format = json_format_of(self.schema)
        system = text_of(self.system)
        files = [Attached(str(path), read_text(path)) for path in self.files]
        prompt = prompt_of(self.words, read_piped(), files)
        prompt = prompt if self.raw else prompt.strip("\r\n")
        messages = (*([Message("system", system)] if system else []), Message("user", prompt))
        conversation = Conversation(
            messages,
            tools,
            json_format=json_format,
            effort=self.effort,
            date=self.date,
            max_reasoning_tokens=self.max_reasoning_tokens,
        )
        question = Question(
            conversation, self.max_tokens, tuple(self.stops), self.sampling(secrets.randbits(_SEED_BITS))
        )
        return Asked(question, self.n, self.raw, commands)

    def for_every_line(self) -> Defaults:
        """What a stream of requests takes from the options. Raises UsageError for any that it can't."""
        self._refuse_contradictions()
        for name, option in _ONE_ANSWER.items():
            if getattr(self, name) != getattr(RunOptions, name):
                raise UsageError(
                    f"{option} has no meaning with --serve-stdin", "Each line says that for itself."
                )
        return self.defaults()

    def _refuse_contradictions(self) -> None:
        chat = {
            "--system": self.system,
            "--schema": self.schema,
            "--tool": self.tools,
            "--tool-cmd": self.commands,
            "--effort": self.effort,
            "--max-reasoning-tokens": self.max_reasoning_tokens is not None,
        }
        given = [name for name, value in chat.items() if value]
        if self.raw and given:
            raise UsageError(
                f"{given[0]} has no meaning with --raw", "It needs a chat format, and --raw has none."
            )
        if self.n > 1 and self.commands:
            raise UsageError(
                "--n and --tool-cmd do not go together", "Give one answer's calls their results."
            )
        if not all(self.stops):
            raise UsageError("--stop is an empty text")


def tools_of(
    tools: Sequence[str], commands: Sequence[str], seconds: float
) -> tuple[tuple[Tool, ...], Mapping[str, ToolCommand]]:
    """The functions of `--tool NAME=FILE` and `--tool-cmd NAME=COMMAND`, and the programs behind them.

    A function that has only a program takes no arguments. Raises UsageError.
    """
    offered = {name: _tool(name, Path(file)) for name, file in _pairs(tools, "--tool", "FILE")}
    programs = {}
    for name, command in _pairs(commands, "--tool-cmd", "COMMAND"):
        programs[name] = ToolCommand(_argv(name, command), seconds)
        offered.setdefault(name, Tool(name))
    return tuple(offered.values()), programs


def _pairs(given: Sequence[str], option: str, what: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise UsageError(f"{option} {text}: it has to be NAME={what}")
        if not _NAME.fullmatch(name):
            raise UsageError(f"{option} {text}: a name is 1 to 64 letters, digits, - and _")
        if name in dict(pairs):
            raise UsageError(f"{option}: there are two of {name}")
        pairs.append((name, value))
    return pairs


def _tool(name: str, file: Path) -> Tool:
    """A schema of arguments, or a whole function as OpenAI writes it."""
    content = json_object(read_text(file), str(file))
    function = content.get("function", content)
    if "parameters" in function:
        content = function["parameters"]
    description = function.get("description", "")
    if not isinstance(content, dict) or content.get("type", "object") != "object":
        raise UsageError(f"{file} is not the JSON schema of an object")
    if not isinstance(description, str):
        raise UsageError(f"{file}: the description is not a text")
    return Tool(name, description, {key: value for key, value in content.items() if key != "description"})


def _argv(name: str, command: str) -> tuple[str, ...]:
    try:
        argv = shlex.split(command, posix=os.name == "posix")
    except ValueError as error:
        raise UsageError(f"--tool-cmd {name}: {error}") from None
    if not argv or shutil.which(argv[0]) is None:
        raise UsageError(f"--tool-cmd {name}: there is no program {argv[0] if argv else command}")
    return tuple(argv)
