"""Runs the tool calls of many conversations beside the engine, which generates other answers meanwhile."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ossctl.app.inference.generation import Generation
from ossctl.app.tools.source import KeepGoing, ToolOutcome
from ossctl.app.tools.toolbox import Toolbox, ToolRunner
from ossctl.dialect import Tool, ToolCall

_MAX_THREADS = 32  # calls that run at the same time; they mostly wait for other programs


@dataclass
class ToolRounds:
    """The calls of one conversation so far, and what runs them."""

    runner: ToolRunner
    count: int = 0
    stopped: bool = False

    @property
    def may_call(self) -> bool:
        """Whether the model may call functions once more."""
        return self.count < self.runner.max_rounds


@dataclass(frozen=True)
class Called:
    """The calls of a generation have been run."""

    generation: Generation
    outcomes: tuple[ToolOutcome, ...]


class ToolWorkers:
    """Threads that run calls without asking the user. All other methods are for one thread.

    `deliver` is called on those threads, with the outcomes or what a bug has raised.
    """

    def __init__(self, toolbox: Toolbox, deliver: Callable[[Called | Exception], None]) -> None:
        self._toolbox = toolbox
        self._deliver = deliver
        self._rounds: dict[str, ToolRounds] = {}
        self._closed = False
        self._threads = ThreadPoolExecutor(_MAX_THREADS, "tools")

    def submit(self, name: str, generation: Generation, offered: Sequence[Tool]) -> bool:
        """Run the calls of a generation of the conversation `name`. False if there is nothing to run."""
        if not generation.calls or not self._toolbox.runs_tools:
            return False
        rounds = self._rounds.get(name) or ToolRounds(self._toolbox.open())
        if not rounds.may_call or not rounds.runner.can_run(generation.calls, offered):
            return False
        self._rounds[name] = rounds
        self._threads.submit(self._call, rounds.runner, generation, lambda: self._goes_on(rounds))
        return True

    def received(self, name: str) -> ToolRounds:
        """Note that outcomes of a conversation have arrived."""
        rounds = self._rounds[name]
        rounds.count += 1
        return rounds

    def stop(self, name: str) -> None:
        """Stop the calls of a conversation, if it has any."""
        if name in self._rounds:
            self._rounds[name].stopped = True

    def end(self, name: str) -> None:
        """End a conversation, if it has called anything."""
        if rounds := self._rounds.pop(name, None):
            self._threads.submit(rounds.runner.close)

    def close(self) -> None:
        """Stop all calls, and end the conversations."""
        self._closed = True
        self._threads.shutdown(wait=True)
        while self._rounds:
            self._rounds.popitem()[1].runner.close()

    def _goes_on(self, rounds: ToolRounds) -> bool:
        return not self._closed and not rounds.stopped

    def _call(self, runner: ToolRunner, generation: Generation, keep_going: KeepGoing) -> None:
        try:
            results = runner.run(generation.calls, self._allow, keep_going)
            outcomes = tuple(result for result in results if isinstance(result, ToolOutcome))
            self._deliver(Called(generation, outcomes))
        except Exception as error:  # noqa: BLE001 (a bug: don't lose it with the thread)
            self._deliver(error)

    def _allow(self, _call: ToolCall, _question: str) -> bool:
        return self._toolbox.unasked
