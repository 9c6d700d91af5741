"""Asks the user before a tool runs."""

from ossctl.dialect import ToolCall
from ossctl.repl.surface import Surface
from ossctl.text import harmless, one_line


class ToolPermission:
    """Where the user cannot be asked, only `allow_all` lets tools run."""

    def __init__(self, surface: Surface, *, allow_all: bool) -> None:
        self._surface = surface
        self._allow_all = allow_all

    def __call__(self, call: ToolCall) -> bool:
        """Whether the call may run."""
        if self._allow_all:
            return True
        if not self._surface.interactive:
            return False
        self._surface.view.pause()
        question = f"Run {call.name}({one_line(harmless(call.arguments))})?"
        chosen = self._surface.choose(question, ("yes", "no", "always"), "no")
        self._allow_all = chosen == "always"
        return chosen != "no"
