"""What goes into the engine and what comes out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ossctl.errors import RequestError
from ossctl.guide import Guide
from ossctl.runtime.base import Tokens

MAX_TOP_LOGPROBS = 20  # OpenAI's limit for top_logprobs


class FinishReason(StrEnum):
    """Why an answer ended, in the words of Chat Completions; `repetition` and `cancelled` are ours.

    Whether it ended with a call is for the dialect to say, and `cancelled` for whoever cancelled it.
    """

    STOP = "stop"
    LENGTH = "length"
    REPETITION = "repetition"
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Sampling:
    """How to draw from the logits: bias, then temperature, then top_k, top_p and min_p, in this order.

    The defaults are OpenAI's recommendation for gpt-oss. `temperature` 0 is greedy; `top_k` 0 is off.
    `logprobs` asks for the chosen token's log probability and that many of the likeliest; they are of
    the model's own distribution, before temperature and cuts.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None

    def validate(self) -> None:
        """Raise RequestError for a value outside its range."""
        _within("temperature", self.temperature, 0, 100)
        _within("top_k", self.top_k, 0, math.inf)
        _within("top_p", self.top_p, 0, 1)
        _within("min_p", self.min_p, 0, 1)
        _within("seed", self.seed, 0, 2**64 - 1)
        for token, bias in self.logit_bias.items():
            _within(f"logit_bias of {token}", bias, -100, 100)  # OpenAI's range
        if self.logprobs is not None:
            _within("top_logprobs", self.logprobs, 0, MAX_TOP_LOGPROBS)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        limits = f"from {low} to {high}" if high < math.inf else f"{low} or more"
        raise RequestError(f"{name} is {value}, must be {limits}")


@dataclass(frozen=True)
class Request:
    """One answer to generate. `prompt` int32 [n], n at least 1; `end_ids` are tokens that end it.

    `max_tokens` bounds the answer; the sequence's room in the cache bounds it as well. With 0 the prompt is
    computed, and that is all: a later one that begins with it need not be. A `guide` follows this one answer.
    Requests of the same `conversation` are answered one after the other and go on from where the prompt of
    the one before ended: the cache can be taken back to there, if that is `returnable`, and is not given to
    others while there is another sequence. After `timeout` seconds in the cache it fails.
    """

    id: str
    prompt: Tokens
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    end_ids: frozenset[int] = frozenset()
    guide: Guide | None = None
    conversation: str = ""
    timeout: float | None = None
    returnable: bool = True


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural logarithms of probabilities: of the chosen token, and of the likeliest ones."""

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Generated:
    """A token of a request, and why the request ended with it, if it did.

    `cached_tokens` of the prompt were in the cache already. `seconds` have passed since it was admitted.
    """

    id: str
    token: int
    logprob: TokenLogprob | None
    finish: FinishReason | None
    cached_tokens: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Prefilled:
    """A request for no answer has its prompt in the cache; `cached_tokens` of it were there already."""

    id: str
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that ended without an answer; the others go on. `code` is for programs."""

    id: str
    reason: str
    code: str = "generation_failed"


Output = Generated | Prefilled | Failed


@dataclass
class EngineStats:
    """Counts since the engine began; times in seconds.

    `prompt_tokens` were computed, `cached_tokens` taken from a sequence that held them already, and
    `recomputed_tokens` had to make way once in a full cache.
    """

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    recomputed_tokens: int = 0
    generated_tokens: int = 0
    decode_seconds: float = 0.0
    sample_seconds: float = 0.0
    step_seconds: float = 0.0
