"""The generation options that commands share."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ossctl.app.inference.defaults import SCHEMA_RETRIES, Defaults
from ossctl.app.user_text import encodable, read_text, text_of
from ossctl.dialect import Effort, JsonFormat, Think
from ossctl.engine.request import Sampling
from ossctl.engine.text_grammar import problem_of
from ossctl.errors import RequestError, UsageError
from ossctl.guide import TextFormat
from ossctl.schemas.validator import NotASchema, check_schema


@dataclass(frozen=True)
class GenerationOptions:
    """The options as given on the command line; the commands' help explains them. Raises UsageError.

    Those `from_environment` hold only for models that support them.
    """

    system: str = ""
    schema: str = ""
    regex: str = ""
    choices: Sequence[str] = ()
    grammar: Path | None = None
    schema_retries: int = SCHEMA_RETRIES
    max_tokens: int | None = None
    stops: Sequence[str] = ()
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    date: dt.date | None = None
    effort: Effort | None = None
    max_reasoning_tokens: int | None = None
    think: Think | None = None
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    from_environment: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not all(self.stops):
            raise UsageError("--stop is an empty text")
        if len(self.formats) > 1:
            first, second, *_ = self.formats
            raise UsageError(f"{first} and {second} cannot be combined", "An answer has one format.")

    @property
    def formats(self) -> Sequence[str]:
        """The options given that set the answer's format."""
        options = {
            "--schema": self.schema,
            "--regex": self.regex,
            "--choice": self.choices,
            "--grammar": self.grammar,
        }
        return [name for name, value in options.items() if value]

    def text_format(self) -> TextFormat | None:
        """The format for `--regex`, `--choice` or `--grammar`, None if there is none. Raises UsageError."""
        if self.regex:
            given = TextFormat("regex", encodable(self.regex))
        elif self.choices:
            given = TextFormat("choice", choices=tuple(map(encodable, self.choices)))
        elif self.grammar:
            given = TextFormat("grammar", read_text(self.grammar))
        else:
            return None
        if problem := problem_of(given):
            where = f" {self.grammar}" if self.grammar else ""
            raise UsageError(f"--{given.kind}{where}: {problem}")
        return given

    def defaults(self) -> Defaults:
        """Defaults of requests. Raises UsageError."""
        return Defaults(
            self.date,
            self.effort,
            self.max_reasoning_tokens,
            self.max_tokens,
            tuple(self.stops),
            self.sampling(default_seed=0),
            system=text_of(self.system),
            json_format=json_format_of(self.schema),
            text_format=self.text_format(),
            schema_retries=self.schema_retries,
            optional=self.from_environment,
            think=self.think,
            template_variables=self.template_variables,
        )

    def sampling(self, default_seed: int) -> Sampling:
        """Sampling parameters, with `default_seed` if no seed was given. Raises UsageError."""
        sampling = Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=0 if self.top_k == -1 else self.top_k,
            min_p=self.min_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            repetition_penalty=self.repetition_penalty,
            seed=default_seed if self.seed in (None, -1) else self.seed,
        )
        try:
            sampling.validate()
        except RequestError as error:
            raise UsageError(f"--{error.message.replace('_', '-', 1)}") from None
        return sampling


def json_format_of(given: str) -> JsonFormat | None:
    """The format for a JSON schema or the path of one; None if `given` is empty. Raises UsageError."""
    if not given:
        return None
    inline = given.lstrip().startswith(("{", "["))
    name = "--schema" if inline else given
    schema = json_object(given if inline else read_text(Path(given)), name)
    try:
        check_schema(schema)
    except NotASchema as error:
        raise UsageError(f"{name} is not a JSON schema: {error}") from None
    return JsonFormat(schema, "answer")


def json_object(text: str, name: str) -> dict[str, Any]:
    """Parse `text` as a JSON object. Raises UsageError, which names `name`."""
    try:
        value = msgspec.json.decode(encodable(text))
    except msgspec.DecodeError as error:
        raise UsageError(f"{name} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{name} is not a JSON object")
    return value


def several(text: str, option: str, *allowed: str) -> list[str]:
    """The values of an option that are separated by commas. Raises UsageError."""
    values = [value.strip().lower() for value in text.split(",")] if text else []
    for value in values:
        if value not in allowed:
            raise UsageError(
                f"{option} {text}: {value!r} is not one of {', '.join(allowed)}",
                "Separate values with commas.",
            )
        if values.count(value) > 1:
            raise UsageError(f"{option} {text}: {value} is given twice")
    return values
