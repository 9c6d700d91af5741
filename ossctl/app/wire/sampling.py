"""The sampling parameters of a request."""

import re
from dataclasses import replace

from ossctl.app.wire.messages import ConversationOptions
from ossctl.engine.request import Sampling
from ossctl.errors import RequestError


class SamplingOptions(ConversationOptions, forbid_unknown_fields=True, kw_only=True):
    """The fields of a request that make up its sampling, beside those of its conversation."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    top_n_sigma: float | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: list[str] | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None


# Fields that a request and `Sampling` have alike.
_SAME = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "min_tokens",
    "ignore_eos",
    "top_n_sigma",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "xtc_probability",
    "xtc_threshold",
)


def read_sampling(options: SamplingOptions, line: int, default: Sampling) -> Sampling:
    """The sampling of the request on `line`. Raises RequestError, which names the field."""
    given = {name: value for name in _SAME if (value := getattr(options, name)) is not None}
    if options.dry_sequence_breakers is not None:
        given["dry_sequence_breakers"] = tuple(options.dry_sequence_breakers)
    sampling = replace(
        default.with_later_seed(line) if options.seed is None else replace(default, seed=options.seed),
        logit_bias=_logit_bias(options.logit_bias or {}),
        logprobs=_logprobs(options),
        **given,
    )
    sampling.validate()
    return sampling


def _logit_bias(bias: dict[str, float]) -> dict[int, float]:
    if not all(re.fullmatch("0|[1-9][0-9]{0,9}", token) for token in bias):
        raise RequestError("logit_bias must map token ids to numbers")
    return {int(token): value for token, value in bias.items()}


def _logprobs(options: SamplingOptions) -> int | None:
    if options.top_logprobs is not None and not options.logprobs:
        raise RequestError("top_logprobs needs logprobs: true")
    return (options.top_logprobs or 0) if options.logprobs else None
