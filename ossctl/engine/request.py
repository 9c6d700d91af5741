"""Requests to the engine, and its outputs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ossctl.engine.breakers import Breakers
from ossctl.errors import RequestError
from ossctl.guide import Guide
from ossctl.runtime.base import Tokens

N_SEEDS = 2**64
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
    """Sampling parameters.

    They apply in this order: logit_bias, repetition_penalty, frequency_penalty and presence_penalty, DRY,
    top_n_sigma, temperature, top_k, top_p, min_p, XTC. `CountPenalties` and `DryPenalties` define the
    penalties, `Sampler` the rest.

    The defaults are OpenAI's recommendation for gpt-oss. `temperature` 0 is greedy decoding, `top_k` and
    `top_n_sigma` 0 disable these limits. If `logprobs` is set, tokens come with log probabilities: their own
    and those of the `logprobs` most likely tokens, all from the unmodified logits.

    No end token is sampled before `min_tokens` tokens. With `ignore_eos`, none ends the answer.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    min_tokens: int = 0
    ignore_eos: bool = False
    top_n_sigma: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1

    @property
    def counts_tokens(self) -> bool:
        """Whether a penalty depends on how often a token has occurred."""
        return bool(self.frequency_penalty or self.presence_penalty or self.repetition_penalty != 1)

    def with_later_seed(self, n: int) -> "Sampling":
        """The same parameters with the seed `n` after this one. After the largest seed comes 0."""
        return replace(self, seed=(self.seed + n) % N_SEEDS)

    def validate(self) -> None:
        """Raise RequestError for a value outside its range."""
        for name, (low, high) in _RANGES.items():
            _check_range(name, getattr(self, name), low, high)
        if not 0 < self.repetition_penalty < math.inf:
            raise RequestError(f"repetition_penalty is {self.repetition_penalty}, must be more than 0")
        if not all(self.dry_sequence_breakers):
            raise RequestError("dry_sequence_breakers contains an empty string")
        for token, bias in self.logit_bias.items():
            _check_range(f"logit_bias of {token}", bias, -100, 100)  # OpenAI's range
        if self.logprobs is not None:
            _check_range("top_logprobs", self.logprobs, 0, MAX_TOP_LOGPROBS)


_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 100),
    "top_k": (0, math.inf),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "seed": (0, N_SEEDS - 1),
    "frequency_penalty": (-2, 2),  # OpenAI's range
    "presence_penalty": (-2, 2),
    "min_tokens": (0, math.inf),
    "top_n_sigma": (0, math.inf),
    "dry_multiplier": (0, math.inf),
    "dry_base": (1, math.inf),
    "dry_allowed_length": (1, math.inf),
    "dry_penalty_last_n": (-1, math.inf),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
}


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        limits = f"from {low} to {high}" if high < math.inf else f"{low} or more"
        raise RequestError(f"{name} is {value}, must be {limits}")


@dataclass(frozen=True)
class Request:
    """A prompt to answer, int32 [n] with n >= 1.

    `max_tokens` limits the answer. 0 only prefills the prompt, so that a later request with this prefix finds
    it in the cache. The answer ends with a token of `end_ids`. A `guide` is stateful and serves one request.
    `breakers` are those of its DRY penalty. The request fails `timeout` seconds after its admission.

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
    breakers: Breakers = field(default_factory=Breakers)
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
    Of the tokens `drafted` so far, `accepted` were then sampled.
    """

    id: str
    token: int
    logprob: TokenLogprob | None
    finish: FinishReason | None
    cached_tokens: int
    seconds: float = 0.0
    drafted: int = 0
    accepted: int = 0


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
    again after a preemption. Of the `drafted_tokens`, `accepted_tokens` were then sampled.
    """

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    recomputed_tokens: int = 0
    generated_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    decode_seconds: float = 0.0
    sample_seconds: float = 0.0
    step_seconds: float = 0.0
