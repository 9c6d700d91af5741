"""Counts, token totals and latencies of a batch."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ossctl.app.inference.energy import Energy
from ossctl.app.inference.generation import Generation, draft_usage
from ossctl.errors import ExitCode, OssctlError, RequestError

_GROWTH = 1.02  # of bucket boundaries: percentiles are accurate to 1 %
_MAX_MESSAGES = 1_000  # different ones that are counted
_MAX_MESSAGES_SHOWN = 3
_MAX_MESSAGE = 200  # characters
_SHORTEST = 1e-3  # seconds, of the first bucket


class Latencies:
    """A histogram of durations in seconds: about 900 logarithmic buckets from a millisecond to a day."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        self._buckets[int(math.log(max(seconds, _SHORTEST) / _SHORTEST, _GROWTH))] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    @property
    def buckets(self) -> dict[int, int]:
        """The number of durations by bucket, for `merge`."""
        return dict(self._buckets)

    def merge(self, buckets: Mapping[int, int], longest: float) -> None:
        """Add the durations of another histogram."""
        self._buckets.update(buckets)
        self.count += sum(buckets.values())
        self.longest = max(self.longest, longest)

    def percentile(self, percent: float) -> float:
        """The latency that `percent` of the samples do not exceed, in seconds; 0 without samples."""
        rank = math.ceil(self.count * percent / 100)
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                middle: float = _SHORTEST * _GROWTH ** (bucket + 0.5)
                return min(middle, self.longest)
        return 0.0

    def percentiles(self) -> dict[str, float]:
        """p50, p90, p99 and max in seconds, for `--report`."""
        named = {f"p{percent}": self.percentile(percent) for percent in (50, 90, 99)}
        return {name: round(value, 3) for name, value in {**named, "max": self.longest}.items()}


@dataclass
class SiteProgress:
    """The share of one engine in a batch: finished lines and generated tokens, running ones included.

    `deaths` are the reasons for which it ended, `left_out` is whether it was not started again.
    """

    name: str
    lines: int = 0
    tokens: int = 0
    deaths: list[str] = field(default_factory=list)
    left_out: bool = False

    def report(self, seconds: float) -> dict[str, object]:
        """The fields of `--report`."""
        return {
            "name": self.name,
            "lines": self.lines,
            "completion_tokens": self.tokens,
            "tokens_per_second": round(self.tokens / seconds, 2) if seconds else 0.0,
            "deaths": self.deaths,
            "left_out": self.left_out,
        }


@dataclass
class BatchSummary:
    """The progress of a batch, and its result. Counts are of lines unless they say tokens.

    Lines are `skipped` if an earlier run finished them, with an error if they are also `failed_before`, or
    with an answer that would get longer now if they are `cut_before`.
    `changed` lines were answered again because their request or the model has changed. Of the `done` lines,
    `cut_in_reasoning` ran out of tokens before the answer began, `recovered` broke the model's format,
    and `retried` did not fit their schema at the first attempt. `errors` counts the codes of errors,
    `error_messages` their texts. `running_tokens` are the tokens generated so far for the `running` requests,
    `slowest` is the id and the age in seconds of the oldest one. `embedded` counts the texts of which vectors
    were made. `journal_seconds` is the time spent on encoding and writing records. `energy` is None if the
    machine does not count it. `sites` are given if there are several, or one has died. `report_error` kept
    the report from being written.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    failed_before: int = 0
    cut_before: int = 0
    changed: int = 0
    cut_in_reasoning: int = 0
    recovered: int = 0
    retried: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    embedded: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    seconds: float = 0.0
    journal_seconds: float = 0.0
    energy: Energy | None = None
    errors: Counter[str] = field(default_factory=Counter)
    error_messages: Counter[str] = field(default_factory=Counter)
    latency: Latencies = field(default_factory=Latencies)
    first_token: Latencies = field(default_factory=Latencies)
    running: int = 0
    running_tokens: int = 0
    running_prompt_tokens: int = 0
    slowest: tuple[str, float] | None = None
    sites: list[SiteProgress] = field(default_factory=list)
    report_error: OssctlError | None = None

    @property
    def finished(self) -> int:
        """Lines that are done, failed or skipped."""
        return self.done + self.failed + self.skipped

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.SOME_FAILED if self.failed + self.failed_before else ExitCode.DONE

    def result(self) -> ExitCode:
        """The exit code. Raises `report_error`, if there is one."""
        if self.report_error is not None:
            raise self.report_error
        return self.exit_code

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens per second, running requests included."""
        return (self.completion_tokens + self.running_tokens) / self.seconds if self.seconds else 0.0

    @property
    def prompt_tokens_per_second(self) -> float:
        """Prompt tokens per second, computed or cached, running requests included."""
        return (self.prompt_tokens + self.running_prompt_tokens) / self.seconds if self.seconds else 0.0

    def add(self, generations: list[Generation]) -> None:
        """Add the tokens and latencies of a line's choices, whose last prompt counts once."""
        first, *_ = generations
        if any(generation.tokens for generation in generations):
            self.prompt_tokens += len(first.request.prompt)
            self.cached_tokens += min(generation.cached_tokens for generation in generations)
        for earlier in (generation.earlier for generation in generations):
            self.prompt_tokens += earlier.prompt
            self.cached_tokens += earlier.cached
        for generation in generations:
            self.completion_tokens += generation.totals.completion
            self.reasoning_tokens += generation.totals.reasoning
            self.drafted_tokens += generation.totals.drafted
            self.accepted_tokens += generation.totals.accepted
            if generation.tokens:
                self.latency.add(generation.seconds)
                self.first_token.add(generation.first_token_seconds)

    def add_error(self, error: RequestError) -> None:
        """Count a failed line."""
        self.failed += 1
        self.errors[error.code] += 1
        if error.message in self.error_messages or len(self.error_messages) < _MAX_MESSAGES:
            self.error_messages[error.message] += 1

    def report(self) -> dict[str, object]:
        """The fields of `--report`."""
        return {
            "done": self.done,
            "failed": self.failed,
            "skipped": self.skipped,
            "failed_before": self.failed_before,
            "cut_before": self.cut_before,
            "changed": self.changed,
            "errors": dict(sorted(self.errors.items())),
            "cut_in_reasoning": self.cut_in_reasoning,
            "recovered": self.recovered,
            "retried": self.retried,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            **draft_usage(self.drafted_tokens, self.accepted_tokens),
            "seconds": round(self.seconds, 3),
            "journal_seconds": round(self.journal_seconds, 4),
            "tokens_per_second": round(self.tokens_per_second, 2),
            "latency_seconds": self.latency.percentiles(),
            "first_token_seconds": self.first_token.percentiles(),
            **({"sites": [site.report(self.seconds) for site in self.sites]} if self.sites else {}),
            **({"energy": self.energy.report(self.completion_tokens)} if self.energy else {}),
        }

    def remarks(self) -> Iterator[str]:
        """Yield hints for answers that are missing, recovered or failed."""
        shown = self.error_messages.most_common(_MAX_MESSAGES_SHOWN)
        for message, count in shown:
            yield f"{count:,} failed: {message[:_MAX_MESSAGE]}"
        if others := self.failed - sum(count for _, count in shown):
            yield f"{others:,} failed with other errors: see error in the records."
        if self.cut_in_reasoning:
            yield (
                f"{self.cut_in_reasoning:,} used up their tokens on reasoning and have no answer: "
                "raise max_tokens or --ctx, or set --max-reasoning-tokens."
            )
        if self.recovered:
            yield f"{self.recovered:,} broke the model's format and were recovered: see finish_details."
        if (too_long := self.errors["context_length_exceeded"]) and not self.embedded:
            which = "prompt does" if too_long == 1 else "prompts do"
            yield f"{too_long:,} {which} not fit: use a larger --ctx with --resume --retry-failed."
        if self.failed_before:
            yield f"{self.failed_before:,} failed in an earlier run: use --retry-failed to run them again."
        if self.cut_before:
            yield f"{self.cut_before:,} were truncated in an earlier run: use --retry-cut to run them again."
