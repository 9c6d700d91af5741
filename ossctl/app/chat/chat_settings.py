"""The settings of a chat: what the options of `ossctl chat` and `/set` change."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from ossctl.dialect import Effort
from ossctl.engine.request import Sampling

_SEEDS = 2**64


@dataclass(frozen=True)
class ChatSettings:
    """If `date` is None, the model gets today's.

    The first answer of a session uses `seed`, and each later one the next seed.
    """

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

    def sampling(self, n_answers: int) -> Sampling:
        """The sampling settings after `n_answers` answers. Raises RequestError for a value out of range."""
        seed = (self.seed + n_answers) % _SEEDS
        sampling = Sampling(self.temperature, self.top_k, self.top_p, self.min_p, seed)
        sampling.validate()
        return sampling

    def record(self) -> dict[str, Any]:
        """The settings that are set, for the database and JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, "", ())}


def settings_of(record: Mapping[str, Any]) -> ChatSettings:
    """The settings in a record, ignoring names that this version does not know."""
    known = {field.name for field in fields(ChatSettings)}
    return msgspec.convert({name: value for name, value in record.items() if name in known}, ChatSettings)
