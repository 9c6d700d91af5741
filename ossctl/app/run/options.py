"""What the options of `ossctl run` mean: texts, schemas, tools."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.options import GenerationOptions, json_format_of
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.run.run import Asked
from ossctl.app.tools.options import ToolOptions
from ossctl.app.user_text import Attached, prompt_of, read_piped, read_text, text_of
from ossctl.dialect import Conversation, Message
from ossctl.errors import UsageError
from ossctl.storage.journal import refuse_existing

_SEED_BITS = 32  # of a drawn one: short enough to type again


@dataclass(frozen=True)
class RunOptions:
    """The options as they were given; the command's help explains them."""

    words: Sequence[str] = ()
    files: Sequence[Path] = ()
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    tools: ToolOptions = field(default_factory=ToolOptions)
    raw: bool = False
    n: int = 1
    sink: Path | None = None

    def asked(self) -> Asked:
        """Read the files and standard input, and put the question. Raises UsageError."""
        self._refuse_contradictions()
        if self.sink is not None:
            refuse_existing(self.sink, overwrite=True)
        generation = self.generation
        tools, commands = self.tools.parse()
        json_format = json_format_of(generation.schema)
        system = text_of(generation.system)
        files = [Attached(str(path), read_text(path)) for path in self.files]
        prompt = prompt_of(self.words, read_piped(), files)
        prompt = prompt if self.raw else prompt.strip("\r\n")
        messages = (*([Message("system", system)] if system else []), Message("user", prompt))
        conversation = Conversation(
            messages,
            tools,
            json_format=json_format,
            effort=generation.effort,
            date=generation.date,
            max_reasoning_tokens=generation.max_reasoning_tokens,
        )
        sampling = generation.sampling(secrets.randbits(_SEED_BITS))
        question = GenerationSpec(conversation, generation.max_tokens, tuple(generation.stops), sampling)
        return Asked(question, self.n, self.raw, commands)

    def for_every_line(self) -> Defaults:
        """What a stream of requests takes from the options. Raises UsageError for any that it can't."""
        self._refuse_contradictions()
        one_answer = {
            "a prompt": self.words,
            "--file": self.files,
            "--system": self.generation.system,
            "--schema": self.generation.schema,
            "--tool": self.tools.tools,
            "--tool-cmd": self.tools.commands,
            "--raw": self.raw,
            "--n": self.n > 1,
            "--output": self.sink,
        }
        given = [option for option, value in one_answer.items() if value]
        if given:
            raise UsageError(
                f"{given[0]} has no meaning with --serve-stdin", "Each line says that for itself."
            )
        return self.generation.defaults()

    def _refuse_contradictions(self) -> None:
        chat = {
            "--system": self.generation.system,
            "--schema": self.generation.schema,
            "--tool": self.tools.tools,
            "--tool-cmd": self.tools.commands,
            "--effort": self.generation.effort,
            "--max-reasoning-tokens": self.generation.max_reasoning_tokens is not None,
        }
        given = [name for name, value in chat.items() if value]
        if self.raw and given:
            raise UsageError(
                f"{given[0]} has no meaning with --raw", "It needs a chat format, and --raw has none."
            )
        if self.n > 1 and self.tools.commands:
            raise UsageError(
                "--n and --tool-cmd do not go together", "Give one answer's calls their results."
            )
