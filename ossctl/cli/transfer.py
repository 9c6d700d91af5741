"""Progress of downloads and of hashing: a live bar on a terminal, plain lines elsewhere."""

import time
from typing import TYPE_CHECKING, Self

from ossctl.cli.output import Output
from ossctl.text import duration, harmless

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ossctl.app.library.pull import Transfer

_SECONDS_BETWEEN_LINES = 10.0


def gigabytes(n_bytes: int) -> str:
    """`12.1 GB`, `98.4 MB`: decimal units, as disks and the hub use them."""
    if n_bytes >= 1_000_000_000:
        return f"{n_bytes / 1e9:,.1f} GB"
    return f"{n_bytes / 1e6:,.1f} MB"


class PlainTransfer:
    """Prints a line every ten seconds, and when a new message comes."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._next = time.monotonic() + _SECONDS_BETWEEN_LINES
        self._since: tuple[float, int] | None = None
        self._doing = ""

    def watch(self, transfer: "Transfer") -> None:
        now = time.monotonic()
        started, first = self._since = self._since or (now, transfer.done)
        doing = transfer.status.partition(";")[0]
        if now >= self._next or (doing and doing != self._doing):
            self._next = now + _SECONDS_BETWEEN_LINES
            speed = (transfer.done - first) / max(now - started, 0.001)
            self._out.note(describe(transfer, speed))
        self._doing = doing

    def note(self, text: str) -> None:
        self._out.note(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveTransfer:
    """Shows one line: bytes, bar, speed, time left, and a message if there is one."""

    def __init__(self, out: Output) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.table import Column

        whole = Column(no_wrap=True)
        self._progress = Progress(
            DownloadColumn(table_column=whole),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=8)),
            TransferSpeedColumn(table_column=whole),
            TimeRemainingColumn(compact=True, table_column=whole),
            TextColumn("left{task.description}", markup=False, table_column=whole),
            console=out.console(),
            transient=True,
            expand=True,
            speed_estimate_period=20,
        )
        self._task: TaskID | None = None

    def watch(self, transfer: "Transfer") -> None:
        doing = f" · {harmless(transfer.status)}" if transfer.status else ""
        if self._task is None:  # bytes of an earlier pull must not count as speed
            self._task = self._progress.add_task(doing, completed=transfer.done, total=transfer.total)
            self._progress.start()
        self._progress.update(self._task, completed=transfer.done, description=doing)

    def note(self, text: str) -> None:
        self._progress.console.print(harmless(text), markup=False, highlight=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def transfer_progress(out: Output) -> PlainTransfer | LiveTransfer:
    """The kind of progress that stderr can show."""
    return LiveTransfer(out) if out.is_live else PlainTransfer(out)


def describe(transfer: "Transfer", speed: float) -> str:
    """`3.1 of 12.1 GB · 45.2 MB/s · 3 min 20 s left`; `speed` in bytes per second."""
    left = transfer.total - transfer.done
    parts = [f"{transfer.done / 1e9:,.1f} of {gigabytes(transfer.total)}"]
    if transfer.total < 1_000_000_000:
        parts = [f"{transfer.done / 1e6:,.1f} of {gigabytes(transfer.total)}"]
    if speed > 0 and left > 0:
        parts += [f"{speed / 1e6:,.1f} MB/s", f"{duration(left / speed)} left"]
    return " · ".join([*parts, *filter(None, [transfer.status])])
