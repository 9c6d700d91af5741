"""Watching a batch: a live bar on a terminal, a plain line now and then elsewhere."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ossctl.cli.output import say

if TYPE_CHECKING:
    from ossctl.app.batch import BatchSummary

_SECONDS_BETWEEN_LINES = 10.0


def describe(summary: "BatchSummary", total: int | None) -> str:
    """`12 of 20 done, 1 failed · 345 tokens in, 678 out · 96.1 tokens/s`"""
    of = "" if total is None else f" of {total:,}"
    failed = f", {summary.failed:,} failed" if summary.failed else ""
    cached = f" ({summary.cached_tokens:,} cached)" if summary.cached_tokens else ""
    rate = summary.completion_tokens / summary.seconds if summary.seconds else 0.0
    return (
        f"{summary.done:,}{of} done{failed} · {summary.prompt_tokens:,} tokens in{cached}, "
        f"{summary.completion_tokens:,} out · {rate:,.1f} tokens/s"
    )


class PlainProgress:
    """A line every ten seconds."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._next = _SECONDS_BETWEEN_LINES

    def watch(self, summary: "BatchSummary") -> None:
        if summary.seconds >= self._next:
            self._next = summary.seconds + _SECONDS_BETWEEN_LINES
            say(f"{describe(summary, self._total)} · {summary.seconds:,.0f} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LiveProgress:
    """A bar with the share of requests, the time left and the figures so far."""

    def __init__(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._total = total
        self._progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=total)

    def watch(self, summary: "BatchSummary") -> None:
        finished = summary.done + summary.failed
        self._progress.update(self._task, completed=finished, description=describe(summary, self._total))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def batch_progress(total: int | None) -> PlainProgress | LiveProgress:
    """The way to watch that stderr allows."""
    return LiveProgress(total) if sys.stderr.isatty() else PlainProgress(total)
