"""Asks the user before a tool runs, and shows exactly what its program will get."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from os import terminal_size

from ossctl.dialect import ToolCall

_CHOICES = "[y]es/[n]o/[a]lways: "


@dataclass
class ToolApproval:
    """Asks about each call until the user answers "always" for its tool.

    `say` shows a line. `ask` reads a line after a question; it raises KeyboardInterrupt at Ctrl-C, which
    means no. If `unasked`, every call may run.
    """

    say: Callable[[str], None]
    ask: Callable[[str], str]
    unasked: bool = False
    size: Callable[[], terminal_size] = shutil.get_terminal_size
    _always: set[str] = field(default_factory=set)

    def __call__(self, call: ToolCall, question: str) -> bool:
        """Whether the call may run; `question` shows all of it."""
        if self.unasked or call.name in self._always:
            return True
        try:
            return self._show(question) and self._choose(call.name)
        except KeyboardInterrupt:
            self.say("")
            return False

    def _show(self, question: str) -> bool:
        """Show the whole question, a screen at a time. Returns whether the user looked at all of it."""
        columns, height = self.size()
        rows = list(_rows(question, max(columns - 1, 20)))
        page = max(height - 2, 5)
        for start in range(0, len(rows), page):
            for row in rows[start : start + page]:
                self.say(row)
            if (left := len(rows) - start - page) > 0 and not self._continue(left):
                return False
        return True

    def _continue(self, left: int) -> bool:
        """Whether the user wants to see the rest; only that is asked, whatever else is entered."""
        while given := self.ask(f"{left:,} more lines; Enter/[n]o: ").lower():
            if "no".startswith(given):
                return False
        return True

    def _choose(self, name: str) -> bool:
        while True:
            given = self.ask(_CHOICES).lower()
            if not given or "no".startswith(given):
                return False
            if "always".startswith(given):
                self._always.add(name)
                return True
            if "yes".startswith(given):
                return True


def _rows(text: str, columns: int) -> Iterator[str]:
    for line in text.split("\n"):
        yield from (line[start : start + columns] for start in range(0, max(len(line), 1), columns))
