"""The end of the terminal that still changes, below lines that never do.

What is finished is written once and then belongs to the terminal: it may scroll away, be selected and
copied. What is live is drawn again, and only its lines that differ, in one write.
"""

import os
import re
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\")
_ERASE_LINE, _ERASE_BELOW = "\x1b[K", "\x1b[J"
_NEXT = "\r\n"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
# Terminals that know synchronised updates show everything between these at once; others ignore them.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"

# Terminals that break lines anew when they become narrower, by what they set. xterm and others cut them off.
_REFLOWING = (
    "TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "ALACRITTY_WINDOW_ID", "KONSOLE_VERSION", "WT_SESSION",
    "TERM_PROGRAM",
)  # fmt: skip


class LiveArea:
    """Lines at the cursor that can still change. While there are any, nobody else writes."""

    def __init__(self, out: TextIO, columns: int, rows: int) -> None:
        self._out = out
        self._columns, self._rows = columns, rows
        self._shown: list[str] = []
        self._reflows = any(name in os.environ for name in _REFLOWING)

    @property
    def columns(self) -> int:
        """Cells of a line. The last one stays empty: a terminal is between two lines after it."""
        return max(1, self._columns - 1)

    @property
    def rows(self) -> int:
        """Lines that can be live."""
        return max(1, self._rows - 1)

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size. What is live is drawn anew with the next `draw`."""
        if (columns, rows) == (self._columns, self._rows):
            return
        narrower = columns < self._columns
        self._columns, self._rows = columns, rows
        if self._shown:
            height = sum(self._height(line) for line in self._shown) if narrower else len(self._shown)
            self._write(f"{_up(min(height, rows) - 1)}\r{_ERASE_BELOW}")
            self._shown = []

    def draw(self, finished: Sequence[str], live: Sequence[str]) -> None:
        """Write the finished lines for good, and below them what may still change.

        Live lines must fit `columns`; of more than `rows` the last are shown.
        """
        live = live[-self.rows :]
        lines = [*finished, *live]
        same = _common(lines, self._shown)
        if same == len(lines) == len(self._shown) and not finished:
            return
        same = min(same, max(0, len(lines) - 1))
        text = self._to_line(same)
        if finished or not lines:  # a finished line may take several rows
            text += f"{_ERASE_BELOW}{_NEXT.join(lines[same:])}"
        else:
            text += _NEXT.join(f"{_ERASE_LINE}{line}" for line in lines[same:])
            text += _ERASE_BELOW if len(lines) < len(self._shown) else ""
        text += _NEXT if finished and not live else ""
        self._shown = list(live)
        self._write(f"{_HIDE_CURSOR}{text}" if live else f"{text}{_SHOW_CURSOR}")

    def _to_line(self, number: int) -> str:
        """From the last live line to the beginning of another, or of the one below."""
        below = number - (len(self._shown) - 1) if self._shown else 0
        return _NEXT if below > 0 else f"{_up(-below)}\r"

    def _height(self, line: str) -> int:
        """Rows that a line takes in a terminal that has become narrower."""
        cells = cell_len(_ESCAPE.sub("", line))
        return max(1, -(-cells // self._columns)) if self._reflows else 1

    def _write(self, text: str) -> None:
        self._out.write(f"{_BEGIN}{text}{_END}")
        self._out.flush()


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many lines are alike at the start."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _up(lines: int) -> str:
    return f"\x1b[{lines}A" if lines > 0 else ""
