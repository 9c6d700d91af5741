"""Turns the options of `ossctl run` into a request, or into defaults for `--serve-stdin`."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.options import GenerationOptions, json_format_of
from ossctl.app.inference.prompt_template import filled, prompt_template
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.run.run import RunRequest
from ossctl.app.tools.options import ToolOptions
from ossctl.app.user_text import Attached, prompt_of, read_piped, read_text, text_of
from ossctl.dialect import Conversation, Message
from ossctl.errors import UsageError
from ossctl.storage.journal import check_output_path

_OTHER_WORDS = "…"  # a question that nobody asks, about the same texts
_SEED_BITS = 32  # of a random seed: short enough to type again


@dataclass(frozen=True)
class RunOptions:
    """The options of the command line. `prompt` is a template for the words, files and piped text."""

    words: Sequence[str] = ()
    files: Sequence[Path] = ()
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    tools: ToolOptions = field(default_factory=ToolOptions)
    raw: bool = False
    n: int = 1
    sink: Path | None = None
    prompt: str | None = None
    variables: Sequence[str] = ()

    def request(self) -> RunRequest:
        """Read the files and stdin. Raises UsageError."""
        self._refuse_contradictions()
        if self.sink is not None:
            check_output_path(self.sink, overwrite=True)
        generation = self.generation
        toolbox = self.tools.toolbox()
        json_format = json_format_of(generation.schema)
        system = text_of(generation.system)
        files = [Attached(str(path), read_text(path, is_prompt=True)) for path in self.files]
        piped = read_piped()
        prompt, another = (self._prompt(words, piped, files) for words in (self.words, [_OTHER_WORDS]))
        prompt = prompt if self.raw else prompt.strip("\r\n")
        messages = (*([Message("system", system)] if system else []), Message("user", prompt))
        conversation = Conversation(
            messages,
            toolbox.offered,
            json_format=json_format,
            text_format=generation.text_format(),
            effort=generation.effort,
            date=generation.date,
            max_reasoning_tokens=generation.max_reasoning_tokens,
            think=generation.think,
            template_variables=generation.template_variables,
        )
        sampling = generation.sampling(secrets.randbits(_SEED_BITS))
        spec = GenerationSpec(
            conversation,
            generation.max_tokens,
            tuple(generation.stops),
            sampling,
            similar=replace(conversation, messages=(*messages[:-1], Message("user", another))),
            persist=True,
            schema_retries=generation.schema_retries,
        )
        return RunRequest(spec, self.n, self.raw, toolbox, generation.from_environment)

    def defaults_for_lines(self) -> Defaults:
        """The defaults of `--serve-stdin`. Raises UsageError for options that it does not take."""
        self._refuse_contradictions()
        one_answer = {
            "a prompt": self.words,
            "--prompt": self.prompt,
            "--file": self.files,
            "--system": self.generation.system,
            **dict.fromkeys(self.generation.formats, True),
            "--raw": self.raw,
            "--n": self.n > 1,
            "--output": self.sink,
        }
        given = [option for option, value in one_answer.items() if value]
        if given:
            hint = "Requests are read from stdin."
            raise UsageError(f"{given[0]} cannot be used with --serve-stdin", hint)
        return self.generation.defaults()

    def _prompt(self, words: Sequence[str], piped: str | None, files: Sequence[Attached]) -> str:
        """The prompt, by the template if there is one. Raises UsageError."""
        if self.prompt is None:
            return prompt_of(words, piped, files)
        template = prompt_template(self.prompt, self.variables)
        if template.takes_input:
            return filled(template, prompt_of(words, piped, files))
        return prompt_of([*filter(None, [filled(template, ""), *words])], piped, files)

    def _is_given(self, name: str) -> bool:
        """Whether the command line sets an option that the environment can also set."""
        generation = self.generation
        return getattr(generation, name) is not None and name not in generation.from_environment

    def _refuse_contradictions(self) -> None:
        chat = {
            "--system": self.generation.system,
            **dict.fromkeys(self.generation.formats, True),
            "--tool": self.tools.tools,
            **dict.fromkeys(self.tools.running, True),
            "--effort": self._is_given("effort"),
            "--max-reasoning-tokens": self._is_given("max_reasoning_tokens"),
            "--think": self._is_given("think"),
            "--template-var": self.generation.template_variables,
        }
        given = [name for name, value in chat.items() if value]
        if self.raw and given:
            raise UsageError(f"{given[0]} cannot be used with --raw", "It needs a chat format.")
        if self.n > 1 and self.tools.running:
            option = self.tools.running[0]
            raise UsageError(f"--n cannot be used with {option}", "Tools work with a single answer.")
