"""A live area at the end of the terminal's output, below lines that no longer change.

Finished lines are written once and then belong to the terminal, which can scroll, select and copy them. Of
the live lines, only those that differ are written again, in one write.
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
# Terminals with synchronised updates show everything between these at once; others ignore them.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"

# Environment variables of terminals that rewrap lines when they become narrower. xterm and others cut them.
_REFLOWING = (
    "TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "ALACRITTY_WINDOW_ID", "KONSOLE_VERSION", "WT_SESSION",
    "TERM_PROGRAM",
)  # fmt: skip


class LiveArea:
    """Lines at the cursor that can still change. Nothing else may write to the terminal meanwhile."""

    def __init__(self, out: TextIO, columns: int, rows: int) -> None:
        self._out = out
        self._columns, self._rows = columns, rows
        self._shown: list[str] = []
        self._reflows = any(name in os.environ for name in _REFLOWING)

    @property
    def columns(self) -> int:
        """Cells per line. The last column stays empty: terminals differ in where the cursor is after it."""
        return max(1, self._columns - 1)

    @property
    def rows(self) -> int:
        """Maximum number of live lines."""
        return max(1, self._rows - 1)

    def resize(self, columns: int, rows: int) -> None:
        """Adapt to a new terminal size. The next `draw` redraws all live lines."""
        if (columns, rows) == (self._columns, self._rows):
            return
        narrower = columns < self._columns
        self._columns, self._rows = columns, rows
        if self._shown:
            height = sum(self._height(line) for line in self._shown) if narrower else len(self._shown)
            self._write(f"{_up(min(height, rows) - 1)}\r{_ERASE_BELOW}")
            self._shown = []

    def draw(self, finished: Sequence[str], live: Sequence[str]) -> None:
        """Write finished lines, and below them those that may still change.

        Live lines must fit `columns`. If there are more than `rows`, the last ones are shown.
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
        """Move from the last live line to the start of line `number`."""
        below = number - (len(self._shown) - 1) if self._shown else 0
        return _NEXT if below > 0 else f"{_up(-below)}\r"

    def _height(self, line: str) -> int:
        """Rows of a line after the terminal has become narrower."""
        cells = cell_len(_ESCAPE.sub("", line))
        return max(1, -(-cells // self._columns)) if self._reflows else 1

    def _write(self, text: str) -> None:
        self._out.write(f"{_BEGIN}{text}{_END}")
        self._out.flush()


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Number of equal lines at the start."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _up(lines: int) -> str:
    return f"\x1b[{lines}A" if lines > 0 else ""
