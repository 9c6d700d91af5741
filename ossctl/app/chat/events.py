"""Events of a chat while it answers, in addition to those of the model's dialect."""

from dataclasses import dataclass
from typing import Any

from ossctl.app.inference.finish import AnswerFinish
from ossctl.app.inference.generation import draft_usage
from ossctl.app.tools.source import ToolOutcome
from ossctl.dialect import Event, ToolCall


@dataclass(frozen=True)
class Prefilling:
    """`done` of the `total` prompt tokens are in the cache."""

    done: int
    total: int


@dataclass(frozen=True)
class Tick:
    """Nothing has happened for a moment. A view can redraw its clock."""


@dataclass(frozen=True)
class ToolRunning:
    """A tool still runs."""

    call: ToolCall


@dataclass(frozen=True)
class ToolRan:
    """A tool has ended."""

    outcome: ToolOutcome


@dataclass(frozen=True)
class Answered:
    """An answer has ended. Counts are in tokens, times in seconds.

    `reused` of the `prompt` tokens were in the cache before the user sent the message or started to write it.
    `first_token_seconds` end with the first visible text; `writing_seconds` run from the model's first token
    to its last. Of the `drafted` tokens, `accepted` were then sampled.
    """

    ending: AnswerFinish
    prompt: int
    reused: int
    completion: int
    reasoning: int
    seed: int
    first_token_seconds: float
    seconds: float
    writing_seconds: float
    recovered: tuple[str, ...] = ()
    in_reasoning: bool = False  # it ended before its final text began
    context_full: bool = False  # it was cut because the context was full
    drafted: int = 0
    accepted: int = 0
    exhausted_rounds: int = 0  # of calls, after which the model had to answer without more

    @property
    def computed(self) -> int:
        """Prompt tokens that had to be prefilled."""
        return self.prompt - self.reused

    @property
    def rate(self) -> float:
        """Tokens per second, after the first token."""
        return (self.completion - 1) / self.writing_seconds if self.writing_seconds > 0 else 0.0

    def record(self) -> dict[str, Any]:
        """The measurements, for the database and JSON."""
        return {
            "finish_reason": str(self.ending),
            "usage": {
                "prompt_tokens": self.prompt,
                "cached_tokens": self.reused,
                "completion_tokens": self.completion,
                "reasoning_tokens": self.reasoning,
                **draft_usage(self.drafted, self.accepted),
            },
            "seed": self.seed,
            "seconds": {"first_token": round(self.first_token_seconds, 3), "total": round(self.seconds, 3)},
        }


ChatEvent = Event | Prefilling | Tick | ToolRunning | ToolRan | Answered
