"""The progress of a comparison, on stderr."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ossctl.cli.output import Output
from ossctl.cli.status_line import StatusLine
from ossctl.text import counted

if TYPE_CHECKING:
    from ossctl.app.compare.results import Answer, Contestant


class CompareProgress(StatusLine):
    """A line that is redrawn while a contestant answers, and a line for each that has.

    Without `figures`, which could give an answer away, it has no tokens and times.
    """

    def __init__(self, out: Output, *, figures: bool = True) -> None:
        super().__init__(out)
        self._figures = figures

    def loading(self, label: str) -> None:
        self.show(f"{label}: loading")

    def answering(self, label: str, done: int, of: int, tokens: int) -> None:
        running = f", {counted(tokens, 'token')} of others" if tokens and self._figures else ""
        self.show(f"{label}: {done:,} of {of:,} done{running}")

    def finished(self, contestant: "Contestant", answers: "Sequence[Answer]") -> None:
        tokens = counted(sum(answer.completion_tokens for answer in answers), "token")
        times = f"{contestant.seconds:,.1f} s, loaded in {contestant.load_seconds:,.1f} s"
        figures = f" · {tokens} · {times}" if self._figures else ""
        self.note(f"{contestant.label}: {counted(len(answers), 'answer')}{figures}")

    def failed(self, labels: "Sequence[str]", message: str) -> None:
        self.remark(f"{' and '.join(labels)} failed: {message}")

    def judged(self, judge: str, count: int) -> None:
        self.note(f"judge {judge}: {counted(count, 'opinion')}")
