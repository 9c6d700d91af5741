"""What a chat tells while it answers, beside the events of the model's dialect."""

from dataclasses import dataclass
from typing import Any

from ossctl.app.inference.finish import AnswerFinish
from ossctl.app.tools.command import ToolOutcome
from ossctl.dialect import Event


@dataclass(frozen=True)
class Prefilling:
    """`done` of `total` tokens of the prompt are in the cache."""

    done: int
    total: int


@dataclass(frozen=True)
class CallsWaiting:
    """Nothing came for a moment."""


@dataclass(frozen=True)
class ToolRan:
    """A program of the user's has answered a call."""

    outcome: ToolOutcome


@dataclass(frozen=True)
class Answered:
    """An answer has ended. Counts are tokens, times seconds.

    `prompt` are all that the model saw, of which `reused` were in the cache. `first_token_seconds` are those
    until there was something to see, `writing_seconds` those from the model's first token to its last.
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
    in_reasoning: bool = False  # it ended before the answer began
    context_full: bool = False  # that is why it was cut

    @property
    def computed(self) -> int:
        """Tokens of the prompt that were decoded."""
        return self.prompt - self.reused

    @property
    def rate(self) -> float:
        """Tokens a second, from the first one on."""
        return (self.completion - 1) / self.writing_seconds if self.writing_seconds > 0 else 0.0

    def record(self) -> dict[str, Any]:
        """For the database and for JSON."""
        return {
            "finish_reason": str(self.ending),
            "usage": {
                "prompt_tokens": self.prompt,
                "cached_tokens": self.reused,
                "completion_tokens": self.completion,
                "reasoning_tokens": self.reasoning,
            },
            "seed": self.seed,
            "seconds": {"first_token": round(self.first_token_seconds, 3), "total": round(self.seconds, 3)},
        }


ChatEvent = Event | Prefilling | CallsWaiting | ToolRan | Answered
