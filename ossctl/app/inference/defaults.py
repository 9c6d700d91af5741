"""Defaults of requests."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ossctl.dialect import Effort, JsonFormat, Think, Tool
from ossctl.engine.request import Sampling
from ossctl.guide import TextFormat

SCHEMA_RETRIES = 2


@dataclass(frozen=True)
class Defaults:
    """Values for the fields that a request leaves out.

    `date` is the current date given to the model. Without one the model gets `today`, which does not count
    as part of the request. Line i uses seed `sampling.seed` + i, so that lines differ but a second run gives
    the same answers. `system` is the system message of conversations that have none. `timeout` is in seconds
    from the start of an answer. `schema_retries` is that of `GenerationSpec`. `optional` names the defaults
    that hold only for models that support them. `tools` are offered in addition to those of the request.
    `template_variables` are as in `Conversation`.
    """

    date: dt.date | None = None
    effort: Effort | None = None
    max_reasoning_tokens: int | None = None
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    today: dt.date | None = None
    system: str = ""
    json_format: JsonFormat | None = None
    text_format: TextFormat | None = None
    timeout: float | None = None
    schema_retries: int = SCHEMA_RETRIES
    optional: frozenset[str] = frozenset()
    think: Think | None = None
    tools: tuple[Tool, ...] = ()
    template_variables: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The defaults that a user sets, for reports; without those that are not set."""
        sampling, text_format = self.sampling, self.text_format
        values = {
            "system": self.system,
            "reasoning_effort": self.effort,
            "max_reasoning_tokens": self.max_reasoning_tokens,
            "think": self.think,
            "template_variables": self.template_variables,
            "max_tokens": self.max_tokens,
            **sampling_record(sampling),
            "seed": sampling.seed,
            "stop": self.stops,
            "schema": self.json_format.schema if self.json_format else None,
            "regex": text_format.source if text_format and text_format.kind == "regex" else None,
            "choice": text_format.choices if text_format else None,
        }
        return {name: value for name, value in values.items() if value not in (None, "", (), {})}


def sampling_record(sampling: Sampling) -> dict[str, Any]:
    """Fields of a request for `sampling` without its seed; None for a penalty that is off."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "frequency_penalty": sampling.frequency_penalty or None,
        "presence_penalty": sampling.presence_penalty or None,
        "repetition_penalty": None if sampling.repetition_penalty == 1 else sampling.repetition_penalty,
    }
