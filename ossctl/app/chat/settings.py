"""How a chat asks: what `/set` and the options of `ossctl chat` change."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from ossctl.app.inference.options import GenerationOptions
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.user_text import text_of
from ossctl.dialect import Conversation, Effort
from ossctl.engine.request import Sampling

_SEEDS = 2**64


@dataclass(frozen=True)
class ChatSettings:
    """`date` None is today. `seed` is that of the first answer; every other has the next."""

    system: str = ""
    effort: Effort | None = None
    date: dt.date | None = None
    max_tokens: int | None = None
    max_reasoning_tokens: int | None = None
    stops: tuple[str, ...] = ()
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0

    @classmethod
    def of(cls, options: GenerationOptions) -> "ChatSettings":
        """The settings that the command line asks for. Raises UsageError for a file that cannot be read."""
        return cls(
            system=text_of(options.system),
            effort=options.effort,
            date=options.date,
            max_tokens=options.max_tokens,
            max_reasoning_tokens=options.max_reasoning_tokens,
            stops=tuple(options.stops),
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            min_p=options.min_p,
            seed=options.seed or 0,
        )

    def sampling(self, answers: int) -> Sampling:
        """How the answer after so many others is drawn. Raises RequestError for a value out of range."""
        sampling = Sampling(
            self.temperature, self.top_k, self.top_p, self.min_p, (self.seed + answers) % _SEEDS
        )
        sampling.validate()
        return sampling

    def question(self, conversation: Conversation, answers: int) -> GenerationSpec:
        """What is asked when there have been so many answers."""
        return GenerationSpec(conversation, self.max_tokens, self.stops, self.sampling(answers))

    def record(self) -> dict[str, Any]:
        """For the database and for JSON: what is set."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value not in (None, "", ())}


def settings_of(record: Mapping[str, Any]) -> ChatSettings:
    """The settings that were recorded; what is not known any more is left out."""
    known = {field.name for field in fields(ChatSettings)}
    return msgspec.convert({name: value for name, value in record.items() if name in known}, ChatSettings)
