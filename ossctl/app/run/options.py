"""Turns the options of `ossctl run` into a request, or into defaults for `--serve-stdin`."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.options import GenerationOptions
from ossctl.app.inference.prompt_template import filled, prompt_template
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.local_date import local_date
from ossctl.app.run.run import RunRequest
from ossctl.app.sessions.chat_settings import RunSettings
from ossctl.app.tools.options import ToolOptions
from ossctl.app.user_text import Attached, encodable, prompt_of, read_piped, read_text
from ossctl.dialect import Conversation, Message
from ossctl.engine.request import Sampling
from ossctl.errors import RequestError, UsageError
from ossctl.storage.journal import check_output_path

if TYPE_CHECKING:
    from ossctl.app.run.log import Earlier

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
    earlier: "Earlier | None" = None

    def request(self) -> RunRequest:
        """Read the files and stdin. Raises UsageError."""
        self._refuse_contradictions()
        if self.sink is not None:
            check_output_path(self.sink, overwrite=True)
        toolbox = self.tools.toolbox()
        settings, sampling = self._settings()
        files = [Attached(str(path), read_text(path, is_prompt=True)) for path in self.files]
        piped = read_piped()
        prompt, another = (self._prompt(words, piped, files) for words in (self.words, [_OTHER_WORDS]))
        if settings.raw and self.earlier is not None and not (piped or files or self.prompt):
            prompt = encodable(" ".join(self.words))  # with the space that may be before the first word
        prompt = prompt if settings.raw else prompt.strip("\r\n")
        system = [Message("system", settings.system)] if settings.system else []
        messages = (*system, *(self.earlier.messages if self.earlier else ()), Message("user", prompt))
        conversation = Conversation(
            messages,
            toolbox.offered,
            json_format=settings.json_format,
            text_format=settings.text_format,
            effort=settings.effort,
            date=settings.date or local_date(),
            max_reasoning_tokens=settings.max_reasoning_tokens,
            think=settings.think,
            template_variables=settings.template_variables,
        )
        spec = GenerationSpec(
            conversation,
            settings.max_tokens,
            settings.stops,
            sampling,
            similar=replace(conversation, messages=(*messages[:-1], Message("user", another))),
            persist=True,
            schema_retries=settings.schema_retries,
        )
        return RunRequest(spec, settings, self.n, toolbox, " ".join(self.words) or prompt, self.earlier)

    def _settings(self) -> tuple[RunSettings, Sampling]:
        """The settings, and the sampling of the first answer. Raises UsageError."""
        sampling = self.generation.sampling(secrets.randbits(_SEED_BITS))
        ours = replace(RunSettings.of(self.generation), seed=sampling.seed, raw=self.raw)
        if self.earlier is None:
            return ours, sampling
        settings = self.earlier.settings(ours)
        n_answers = 0 if "seed" in self.earlier.given else self.earlier.saved.n_answers
        try:
            return settings, settings.sampling(n_answers)
        except RequestError as error:
            raise UsageError(f"run {self.earlier.saved.id} cannot be continued: {error.message}") from None

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
        return replace(self.generation, date=self.generation.date or local_date()).defaults()

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
        settings = {
            "--system": self.generation.system,
            **dict.fromkeys(self.generation.formats, True),
            "--effort": self._is_given("effort"),
            "--max-reasoning-tokens": self._is_given("max_reasoning_tokens"),
            "--think": self._is_given("think"),
            "--template-var": self.generation.template_variables,
        }
        if self.earlier is not None:  # whose settings hold but for those given
            settings = {name: value for name, value in settings.items() if self.earlier.is_given(name)}
        tools = {"--tool": self.tools.tools, **dict.fromkeys(self.tools.running, True)}
        given = [name for name, value in (settings | tools).items() if value]
        if given and (self.raw or (self.earlier is not None and self.earlier.is_raw)):
            raise UsageError(f"{given[0]} cannot be used with --raw", "It needs a chat format.")
        if self.raw and self.earlier is not None and not self.earlier.is_raw:
            raise UsageError("--raw cannot continue a conversation in a chat format")
        if self.n > 1 and self.tools.running:
            option = self.tools.running[0]
            raise UsageError(f"--n cannot be used with {option}", "Tools work with a single answer.")
