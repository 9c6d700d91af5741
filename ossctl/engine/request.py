"""Requests to the engine, and its outputs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ossctl.errors import RequestError
from ossctl.guide import Guide
from ossctl.runtime.base import Tokens

MAX_TOP_LOGPROBS = 20  # OpenAI's limit for top_logprobs


class FinishReason(StrEnum):
    """Why a request ended: the reasons of Chat Completions, plus `repetition` and `cancelled`.

    The engine itself never reports `tool_calls` or `cancelled`.
    """

    STOP = "stop"
    LENGTH = "length"
    REPETITION = "repetition"
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters, applied in this order: logit_bias, temperature, top_k, top_p, min_p.

    The defaults are OpenAI's recommendation for gpt-oss. `temperature` 0 is greedy decoding, `top_k` 0
    disables that limit. If `logprobs` is set, tokens come with log probabilities: their own and those of the
    `logprobs` most likely tokens, all from the unmodified logits.
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
        _check_range("temperature", self.temperature, 0, 100)
        _check_range("top_k", self.top_k, 0, math.inf)
        _check_range("top_p", self.top_p, 0, 1)
        _check_range("min_p", self.min_p, 0, 1)
        _check_range("seed", self.seed, 0, 2**64 - 1)
        for token, bias in self.logit_bias.items():
            _check_range(f"logit_bias of {token}", bias, -100, 100)  # OpenAI's range
        if self.logprobs is not None:
            _check_range("top_logprobs", self.logprobs, 0, MAX_TOP_LOGPROBS)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        limits = f"from {low} to {high}" if high < math.inf else f"{low} or more"
        raise RequestError(f"{name} is {value}, must be {limits}")


@dataclass(frozen=True)
class Request:
    """A prompt to answer, int32 [n] with n >= 1.

    `max_tokens` limits the answer. 0 only prefills the prompt, so that a later request with this prefix finds
    it in the cache. The answer ends with a token of `end_ids`. A `guide` is stateful and serves one request.
    The request fails `timeout` seconds after its admission.

    Requests of one `conversation` run one at a time. They reuse its slot, which others get only when it is
    the least recently used. `checkpoint` lets the next one roll back to the end of this prompt.

    Other prompts are expected to share the first `shared_lengths` tokens. What the request has computed is
    written to disk if `persist`.
    """

    id: str
    prompt: Tokens
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    end_ids: frozenset[int] = frozenset()
    guide: Guide | None = None
    conversation: str = ""
    timeout: float | None = None
    checkpoint: bool = True
    shared_lengths: tuple[int, ...] = ()
    persist: bool = False


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural log probabilities: the sampled token's, and (token, logprob) of the most likely ones."""

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Generated:
    """One generated token. `finish` is set on a request's last.

    `cached_tokens` is how much of the prompt was found in the cache, `seconds` the time since admission.
    """

    id: str
    token: int
    logprob: TokenLogprob | None
    finish: FinishReason | None
    cached_tokens: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Prefilled:
    """A request with `max_tokens` 0 has finished; `cached_tokens` of its prompt were found in the cache."""

    id: str
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A request has failed, without affecting others. `code` is machine-readable."""

    id: str
    reason: str
    code: str = "generation_failed"


Output = Generated | Prefilled | Failed


@dataclass
class EngineStats:
    """Totals since the engine was created; times in seconds.

    `prompt_tokens` were computed, `cached_tokens` reused from the cache, and `recomputed_tokens` computed
    again after a preemption.
    """

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    recomputed_tokens: int = 0
    generated_tokens: int = 0
    decode_seconds: float = 0.0
    sample_seconds: float = 0.0
    step_seconds: float = 0.0
