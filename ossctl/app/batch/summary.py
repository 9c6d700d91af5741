"""What a batch has done so far, in numbers."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ossctl.app.inference.generation import Generation
from ossctl.errors import ExitCode

_STEP = 1.02  # from one class of latencies to the next: percentiles are right to 1 %
_LEAST = 1e-3  # seconds


class Latencies:
    """Seconds, counted in classes: some 800 of them reach from a millisecond to a day."""

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        self._classes[int(math.log(max(seconds, _LEAST) / _LEAST, _STEP))] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent took no longer than; 0 if there are none."""
        left = math.ceil(self.count * percent / 100)
        for number in sorted(self._classes):
            left -= self._classes[number]
            if left <= 0:
                middle: float = _LEAST * _STEP ** (number + 0.5)
                return min(middle, self.longest)
        return 0.0

    def percentiles(self) -> dict[str, float]:
        """For a report, in seconds."""
        named = {f"p{percent}": self.percentile(percent) for percent in (50, 90, 99)}
        return {name: round(value, 3) for name, value in {**named, "max": self.longest}.items()}


@dataclass
class BatchSummary:
    """Lines, tokens, seconds.

    `skipped` lines were answered by an earlier run, `failed_before` of them without success; `changed` ones
    are asked something else now, or of another model, and answered again. Of the lines that are done,
    `cut_in_reasoning` have no answer as their tokens were spent, and of `recovered` the format was broken.
    `running` are answered now, which have `running_tokens` so far; the slowest of them, by its id, began
    `slowest` seconds ago. `journal_seconds` went into records.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    failed_before: int = 0
    changed: int = 0
    cut_in_reasoning: int = 0
    recovered: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    seconds: float = 0.0
    journal_seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    latency: Latencies = field(default_factory=Latencies)
    first_token: Latencies = field(default_factory=Latencies)
    running: int = 0
    running_tokens: int = 0
    running_prompt_tokens: int = 0
    slowest: tuple[str, float] | None = None

    @property
    def finished(self) -> int:
        """Lines that nothing more is to be done for."""
        return self.done + self.failed + self.skipped

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.SOME_FAILED if self.failed + self.failed_before else ExitCode.DONE

    @property
    def tokens_per_second(self) -> float:
        """Of answers, the unfinished ones too."""
        return (self.completion_tokens + self.running_tokens) / self.seconds if self.seconds else 0.0

    @property
    def prompt_tokens_per_second(self) -> float:
        """Likewise of prompts, whether computed or found in the cache."""
        return (self.prompt_tokens + self.running_prompt_tokens) / self.seconds if self.seconds else 0.0

    def count(self, generations: list[Generation]) -> None:
        """Take the tokens and times of a line's choices, which share one prompt."""
        first, *_ = generations
        if any(generation.tokens for generation in generations):
            self.prompt_tokens += len(first.request.prompt)
            self.cached_tokens += min(generation.cached_tokens for generation in generations)
        for generation in generations:
            self.completion_tokens += generation.completion_tokens
            self.reasoning_tokens += generation.reasoning_tokens
            if generation.tokens:
                self.latency.add(generation.seconds)
                self.first_token.add(generation.first_token_seconds)

    def report(self) -> dict[str, object]:
        """For `--report`."""
        return {
            "done": self.done,
            "failed": self.failed,
            "skipped": self.skipped,
            "failed_before": self.failed_before,
            "changed": self.changed,
            "errors": dict(sorted(self.errors.items())),
            "cut_in_reasoning": self.cut_in_reasoning,
            "recovered": self.recovered,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "seconds": round(self.seconds, 3),
            "journal_seconds": round(self.journal_seconds, 4),
            "tokens_per_second": round(self.tokens_per_second, 2),
            "latency_seconds": self.latency.percentiles(),
            "first_token_seconds": self.first_token.percentiles(),
        }

    def remarks(self) -> Iterator[str]:
        """What to know of answers that are there but not as they should be."""
        if self.cut_in_reasoning:
            yield (
                f"{self.cut_in_reasoning:,} spent all their tokens on reasoning and have no answer: "
                "raise max_tokens or --ctx, or set --max-reasoning-tokens."
            )
        if self.recovered:
            yield f"{self.recovered:,} broke the model's format and were recovered: see finish_details."
        if too_long := self.errors["context_length_exceeded"]:
            which = "prompt does" if too_long == 1 else "prompts do"
            yield f"{too_long:,} {which} not fit: with a larger --ctx, --resume --retry-failed runs them."
        if self.failed_before:
            yield f"{self.failed_before:,} had failed before: --retry-failed runs them again."
