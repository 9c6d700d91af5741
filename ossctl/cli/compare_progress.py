"""The progress of a comparison, on stderr."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from ossctl.cli.output import Output
from ossctl.text import counted, harmless

if TYPE_CHECKING:
    from rich.status import Status

    from ossctl.app.compare.results import Answer, Contestant


class CompareProgress:
    """A line that is redrawn while a contestant answers, and a line for each that has.

    Without `figures`, which could give an answer away, it has no tokens and times.
    """

    def __init__(self, out: Output, *, figures: bool = True) -> None:
        self._out = out
        self._figures = figures
        self._status: Status | None = None

    def loading(self, label: str) -> None:
        self._show(f"{label}: loading")

    def answering(self, label: str, done: int, of: int, tokens: int) -> None:
        running = f", {counted(tokens, 'token')} of others" if tokens and self._figures else ""
        self._show(f"{label}: {done:,} of {of:,} done{running}")

    def finished(self, contestant: "Contestant", answers: "Sequence[Answer]") -> None:
        self._hide()
        if contestant.error:
            self._out.warning(f"{contestant.label} failed: {contestant.error}")
            return
        tokens = counted(sum(answer.completion_tokens for answer in answers), "token")
        times = f"{contestant.seconds:,.1f} s, loaded in {contestant.load_seconds:,.1f} s"
        figures = f" · {tokens} · {times}" if self._figures else ""
        self._out.note(f"{contestant.label}: {counted(len(answers), 'answer')}{figures}")

    def judged(self, judge: str, count: int) -> None:
        self._hide()
        self._out.note(f"judge {judge}: {counted(count, 'opinion')}")

    def remark(self, text: str) -> None:
        self._hide()
        self._out.warning(text)

    def _show(self, text: str) -> None:
        if not self._out.is_live:
            return
        if self._status is None:
            from rich.status import Status

            self._status = Status("", console=self._out.console())
            self._status.start()
        from rich.text import Text

        self._status.update(Text(harmless(text)))

    def _hide(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hide()
