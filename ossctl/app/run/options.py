"""Turns the options of `ossctl run` into a request, or into defaults for `--serve-stdin`."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.options import GenerationOptions, json_format_of
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.run.run import RunRequest
from ossctl.app.tools.options import tools_of
from ossctl.app.user_text import Attached, prompt_of, read_piped, read_text, text_of
from ossctl.dialect import Conversation, Message
from ossctl.errors import UsageError
from ossctl.storage.journal import check_output_path

# Options that --serve-stdin does not take, because each line has its own.
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
_SEED_BITS = 32  # of a random seed: short enough to type again


@dataclass(frozen=True)
class RunOptions(GenerationOptions):
    """The options of the command line."""

    words: Sequence[str] = ()
    files: Sequence[Path] = ()
    tools: Sequence[str] = ()
    commands: Sequence[str] = ()
    tool_seconds: float = 60.0
    raw: bool = False
    n: int = 1
    sink: Path | None = None

    def request(self) -> RunRequest:
        """Read the files and stdin. Raises UsageError."""
        self._refuse_contradictions()
        if self.sink is not None:
            check_output_path(self.sink, overwrite=True)
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
        spec = GenerationSpec(
            conversation, self.max_tokens, tuple(self.stops), self.sampling(secrets.randbits(_SEED_BITS))
        )
        return RunRequest(spec, self.n, self.raw, commands)

    def defaults_for_lines(self) -> Defaults:
        """The defaults of `--serve-stdin`. Raises UsageError for options that it does not take."""
        self._refuse_contradictions()
        for name, option in _ONE_ANSWER.items():
            if getattr(self, name) != getattr(RunOptions, name):
                hint = "Requests are read from stdin."
                raise UsageError(f"{option} cannot be used with --serve-stdin", hint)
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
            raise UsageError(f"{given[0]} cannot be used with --raw", "It needs a chat format.")
        if self.n > 1 and self.commands:
            raise UsageError("--n cannot be used with --tool-cmd", "Tools work with a single answer.")
        if not all(self.stops):
            raise UsageError("--stop is an empty text")
