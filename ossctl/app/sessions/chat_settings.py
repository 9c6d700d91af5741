"""The settings of chats and runs: what the options of the command line and `/set` change."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import msgspec

from ossctl.app.inference.defaults import SCHEMA_RETRIES
from ossctl.app.inference.options import GenerationOptions, json_format_of
from ossctl.app.user_text import text_of
from ossctl.dialect import Effort, JsonFormat, Think
from ossctl.engine.request import N_SEEDS, Sampling
from ossctl.guide import TextFormat

_Settings = TypeVar("_Settings", bound="ChatSettings")


@dataclass(frozen=True)
class ChatSettings:
    """If `date` is None, the model gets today's.

    The first answer of a session uses `seed`, and each later one the next seed. `optional` names the settings
    that hold only for models that support them.
    """

    system: str = ""
    effort: Effort | None = None
    date: dt.date | None = None
    max_tokens: int | None = None
    max_reasoning_tokens: int | None = None
    think: Think | None = None
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    stops: tuple[str, ...] = ()
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    optional: frozenset[str] = frozenset()

    @classmethod
    def of(cls, options: GenerationOptions) -> "ChatSettings":
        """The settings given on the command line. Raises UsageError for a file that cannot be read."""
        return cls(
            system=text_of(options.system),
            effort=options.effort,
            date=options.date,
            max_tokens=options.max_tokens,
            max_reasoning_tokens=options.max_reasoning_tokens,
            think=options.think,
            template_variables=options.template_variables,
            stops=tuple(options.stops),
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=0 if options.top_k == -1 else options.top_k,
            min_p=options.min_p,
            frequency_penalty=options.frequency_penalty,
            presence_penalty=options.presence_penalty,
            repetition_penalty=options.repetition_penalty,
            seed=options.seed or 0,
            optional=options.from_environment,
        )

    def sampling(self, n_answers: int) -> Sampling:
        """The sampling settings after `n_answers` answers. Raises RequestError for a value out of range."""
        sampling = Sampling(
            self.temperature,
            self.top_k,
            self.top_p,
            self.min_p,
            self.seed,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            repetition_penalty=self.repetition_penalty,
        )
        sampling.validate()
        return replace(sampling, seed=self.next_seed(n_answers))

    def next_seed(self, n_answers: int) -> int:
        """The seed after `n_answers` answers."""
        return (self.seed + n_answers) % N_SEEDS

    def with_next_seed(self, seed: int, n_answers: int) -> "ChatSettings":
        """The settings with another seed for the answer after `n_answers`. Raises RequestError."""
        replace(self, seed=seed).sampling(0)
        return replace(self, seed=(seed - n_answers) % N_SEEDS)

    def record(self) -> dict[str, Any]:
        """The settings that are set, for the database and JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, "", (), {}, frozenset())}


def settings_of(record: Mapping[str, Any]) -> ChatSettings:
    """The settings in a record, ignoring names that this version does not know."""
    return _converted(record, ChatSettings)


@dataclass(frozen=True)
class RunSettings(ChatSettings):
    """The settings of `ossctl run`, which can hold an answer to a format. `grammar` is its text."""

    schema: Mapping[str, Any] | None = None
    regex: str = ""
    choice: tuple[str, ...] = ()
    grammar: str = ""
    schema_retries: int = SCHEMA_RETRIES
    raw: bool = False

    @classmethod
    def of(cls, options: GenerationOptions) -> "RunSettings":
        """The settings given on the command line. Raises UsageError."""
        json_format, text_format = json_format_of(options.schema), options.text_format()
        kind, source = (text_format.kind, text_format.source) if text_format else ("", "")
        return cls(
            **vars(ChatSettings.of(options)),
            schema=json_format.schema if json_format else None,
            regex=source if kind == "regex" else "",
            choice=text_format.choices if text_format else (),
            grammar=source if kind == "grammar" else "",
            schema_retries=options.schema_retries,
        )

    @property
    def json_format(self) -> JsonFormat | None:
        return None if self.schema is None else JsonFormat(self.schema, "answer")

    @property
    def text_format(self) -> TextFormat | None:
        for kind in ("regex", "grammar"):
            if source := getattr(self, kind):
                return TextFormat(kind, source)
        return TextFormat("choice", choices=self.choice) if self.choice else None

    def record(self) -> dict[str, Any]:
        values = super().record()
        for name, default in (("schema_retries", SCHEMA_RETRIES), ("raw", False)):
            if values[name] == default:
                del values[name]
        return values


def run_settings_of(record: Mapping[str, Any]) -> RunSettings:
    """The settings in the record of a run or a chat."""
    return _converted(record, RunSettings)


def _converted(record: Mapping[str, Any], kind: type[_Settings]) -> _Settings:
    known = {field.name for field in fields(kind)}
    return msgspec.convert({name: value for name, value in record.items() if name in known}, kind)
