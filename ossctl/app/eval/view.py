"""What the progress of an evaluation looks like, as far as it has to be known here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ossctl.app.eval.results import Sample, TaskResult


@dataclass
class Progress:
    """The answers so far of the task `label`. `seconds` is the time of this run."""

    label: str
    total: int
    done: int = 0
    earlier: int = 0
    score: float = 0.0
    failed: int = 0
    truncated: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, sample: Sample, *, earlier: bool = False) -> None:
        self.done += 1
        self.earlier += earlier
        self.score += sample.score
        self.failed += sample.outcome == "failed"
        self.truncated += sample.outcome == "truncated"
        self.tokens += 0 if earlier else sample.reasoning_tokens + sample.answer_tokens

    @property
    def seconds_left(self) -> float | None:
        """An estimate; None before the first answer."""
        new = self.done - self.earlier
        return (self.total - self.done) * self.seconds / new if new else None


class EvalView(Protocol):
    """Shows what happens."""

    def reading(self, task: str) -> None:
        """The questions of a task are read, or fetched."""

    def begins(self, folder: Path) -> None:
        """The questions are there, and all that is finished will be in `folder`."""

    def loading(self, model: str) -> None:
        """A model is loaded."""

    def progress(self, progress: Progress) -> None:
        """An answer has been graded, or a task begins."""

    def finished(self, label: str, result: TaskResult) -> None:
        """A task is complete."""

    def failed_sample(self, label: str, sample: Sample) -> None:
        """There is no answer to grade."""

    def remark(self, text: str) -> None:
        """Something the user should know."""
