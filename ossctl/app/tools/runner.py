"""Runs the tool calls of an answer, one by one, as far as the user allows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ossctl.app.tools.command import ToolCommand, program_input
from ossctl.app.tools.source import ToolOutcome, denied, failed, stopped
from ossctl.dialect import ToolCall

MAX_ROUNDS = 8  # answers with calls to one message; then the model has to answer without tools
ROUNDS_EXHAUSTED = f"The model called functions {MAX_ROUNDS} times in a row, and had to answer without more."

Allow = Callable[[ToolCall], bool]


@dataclass(frozen=True)
class ToolRunner:
    """Runs tools that the user allows."""

    commands: Mapping[str, ToolCommand]
    allow: Allow

    def can_run(self, calls: Sequence[ToolCall]) -> bool:
        """Whether there are calls, and a program for each of them."""
        return bool(calls) and all(call.name in self.commands for call in calls)

    def run(self, call: ToolCall, keep_going: Callable[[], bool]) -> ToolOutcome:
        """Ask the user, then run the program, while `keep_going()` is true.

        The user is not asked about arguments that no program could take.
        """
        if not keep_going():
            return stopped(call)
        try:
            program_input(call)
        except ValueError as error:
            return failed(call, str(error))
        if not self.allow(call):
            return denied(call) if keep_going() else stopped(call)
        return self.commands[call.name].run(call, keep_going)
