"""Asks the user of a chat before a tool runs."""

from ossctl.app.tools.approval import ToolApproval
from ossctl.dialect import ToolCall
from ossctl.repl.surface import Surface


class ToolPermission:
    """Where the user cannot be asked, only `allow_all` lets tools run."""

    def __init__(self, surface: Surface, *, allow_all: bool) -> None:
        self._surface = surface
        self._approval = ToolApproval(surface.say, surface.ask, unasked=allow_all)

    def __call__(self, call: ToolCall, question: str) -> bool:
        """Whether the call may run."""
        if self._approval.unasked:
            return True
        if not self._surface.interactive:
            return False
        self._surface.view.pause()
        return self._approval(call, question)
