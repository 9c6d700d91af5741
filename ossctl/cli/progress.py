"""Watching a batch: a live bar on a terminal, a plain line now and then elsewhere."""

import sys
from collections.abc import Iterator
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
    return (
        f"{summary.done:,}{of} done{failed} · {summary.prompt_tokens:,} tokens in{cached}, "
        f"{summary.completion_tokens:,} out · {_rate(summary):,.1f} tokens/s"
    )


def remarks(summary: "BatchSummary") -> Iterator[str]:
    """What to know of answers that are there but not as they should be."""
    if summary.cut_in_reasoning:
        yield (
            f"{summary.cut_in_reasoning:,} spent all their tokens on reasoning and have no answer: "
            "raise max_tokens or --ctx, or set --max-reasoning-tokens."
        )
    if summary.recovered:
        yield f"{summary.recovered:,} broke the model's format and were recovered: see finish_details."


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

    def __exit__(self, *_: object) -> None:
        pass


class LiveProgress:
    """One line: how many are done, how fast, a bar, the time left. It appears with the first news."""

    def __init__(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.table import Column

        whole = Column(no_wrap=True)
        bar = BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=8))
        left = (bar, TimeRemainingColumn(compact=True, table_column=whole), TextColumn("left"))
        self._total = total
        self._progress = Progress(
            TextColumn("{task.description}", table_column=whole),
            *((TimeElapsedColumn(),) if total is None else left),
            console=Console(stderr=True),
            transient=True,
            expand=total is not None,
        )
        self._task = self._progress.add_task("", total=total)

    def watch(self, summary: "BatchSummary") -> None:
        finished = summary.done + summary.failed
        of = "" if self._total is None else f" of {self._total:,}"
        failed = f", {summary.failed:,} failed" if summary.failed else ""
        text = f"{summary.done:,}{of} done{failed} · {_rate(summary):,.1f} tokens/s"
        self._progress.update(self._task, completed=finished, description=text)
        self._progress.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def batch_progress(total: int | None, *, to_terminal: bool) -> PlainProgress | LiveProgress:
    """The way to watch that stderr allows. With the answers on the same terminal, lines are it."""
    if sys.stderr is None or not sys.stderr.isatty() or (to_terminal and sys.stdout.isatty()):
        return PlainProgress(total)
    return LiveProgress(total)


def _rate(summary: "BatchSummary") -> float:
    return summary.completion_tokens / summary.seconds if summary.seconds else 0.0
