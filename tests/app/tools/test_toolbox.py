"""Calls of one answer: asked about, run in order or together, and none starts after a stop."""

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Barrier, Event

import pytest

from ossctl.app.tools.command import ToolCommand, ToolCommands
from ossctl.app.tools.source import KeepGoing, ToolOutcome
from ossctl.app.tools.toolbox import Toolbox, ToolRunner
from ossctl.dialect import Tool, ToolCall
from ossctl.errors import UsageError

OFFERED = [Tool("note"), Tool("declared")]
CALLS = [ToolCall("note", f'{{"n":{n}}}') for n in range(3)]


class Asked:
    """Notes which calls are asked about, and gives the replies in turn."""

    def __init__(self, *replies: bool) -> None:
        self.arguments: list[str] = []
        self._replies = iter(replies)

    def __call__(self, call: ToolCall, question: str) -> bool:
        assert call.name in question
        self.arguments.append(call.arguments)
        return next(self._replies)


class Together:
    """A source whose calls end only when `n` of them run at the same time."""

    concurrent = True

    def __init__(self, n: int) -> None:
        self.closed = 0
        self._barrier = Barrier(n, timeout=5.0)

    def tools(self) -> Sequence[Tool]:
        return [Tool("meet")]

    def describe(self, name: str) -> str:
        return name

    def notes(self) -> Sequence[str]:
        return ()

    def open(self) -> "Together":
        return self

    def question(self, call: ToolCall) -> None:
        """Nothing outside is touched."""

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        self._barrier.wait()
        return ToolOutcome(call, f"met {call.arguments}", ok=True)

    def close(self) -> None:
        self.closed += 1


def outcomes_of(results: Iterable[ToolOutcome | ToolCall]) -> list[ToolOutcome]:
    return [result for result in results if isinstance(result, ToolOutcome)]


def runner_of(log: Path) -> ToolRunner:
    """Its program notes what it gets."""
    program = (sys.executable, "-c", f"import sys; open({str(log)!r}, 'a').write(sys.stdin.read())")
    commands = ToolCommands((Tool("note"),), {"note": ToolCommand(program, 20.0)})
    return Toolbox([commands], [Tool("declared")]).open()


def test_several_calls_are_asked_about_one_by_one(tmp_path: Path) -> None:
    log, asked = tmp_path / "log", Asked(True, False, True)
    outcomes = outcomes_of(runner_of(log).run(CALLS, asked, lambda: True))
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert asked.arguments == [call.arguments for call in CALLS]
    assert log.read_text() == '{"n":0}{"n":2}'
    assert outcomes[0].seconds > outcomes[1].seconds == 0


def test_after_a_stop_no_call_is_asked_about_or_started(tmp_path: Path) -> None:
    log, asked = tmp_path / "log", Asked(True)
    outcomes = outcomes_of(runner_of(log).run(CALLS, asked, lambda: not asked.arguments))
    assert len(asked.arguments) == 1
    assert not log.exists()
    assert all("the user stopped this call" in outcome.result for outcome in outcomes)


def test_a_question_that_was_stopped_is_no_refusal(tmp_path: Path) -> None:
    asked = Asked(False)
    (outcome,) = outcomes_of(runner_of(tmp_path / "log").run(CALLS[:1], asked, lambda: not asked.arguments))
    assert "the user stopped this call" in outcome.result


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (ToolCall("note", '{"n":'), "not valid JSON"),
        (ToolCall("note", "", cut=True), "was cut off"),
        (ToolCall("nope", "{}"), "there is no function nope; there are: note"),
    ],
)
def test_a_call_that_cannot_run_gets_the_reason_and_the_user_no_question(
    tmp_path: Path, call: ToolCall, reason: str
) -> None:
    runner = runner_of(tmp_path / "log")
    assert runner.can_run([call], OFFERED)
    (outcome,) = outcomes_of(runner.run([call], Asked(), lambda: True))
    assert not outcome.ok
    assert reason in outcome.result


def test_a_call_that_is_the_users_to_answer_ends_the_answer(tmp_path: Path) -> None:
    runner = runner_of(tmp_path / "log")
    assert runner.can_run(CALLS, OFFERED)
    assert not runner.can_run([], OFFERED)
    assert not runner.can_run([*CALLS, ToolCall("declared", "{}")], OFFERED)


def test_calls_of_a_concurrent_source_run_at_the_same_time_and_keep_their_order() -> None:
    source = Together(3)
    calls = [ToolCall("meet", str(n)) for n in range(3)]
    with closing(Toolbox([source]).open()) as runner:
        outcomes = outcomes_of(runner.run(calls, Asked(), lambda: True))
    assert [outcome.result for outcome in outcomes] == ["met 0", "met 1", "met 2"]
    assert source.closed == 1


def test_two_functions_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two functions with the name meet"):
        _ = Toolbox([Together(1)], [Tool("meet")]).offered


def test_a_call_that_takes_long_is_reported_while_it_runs() -> None:
    slow = ToolCommand((sys.executable, "-c", "import time; time.sleep(0.4)"), 20.0)
    runner = Toolbox([ToolCommands((Tool("note"),), {"note": slow})]).open()
    *running, outcome = runner.run(CALLS[:1], Asked(True), lambda: True)
    assert running
    assert set(running) == {CALLS[0]}
    assert isinstance(outcome, ToolOutcome)


class Starting(Together):
    """Says which functions it has when it is allowed to."""

    def __init__(self, error: str = "") -> None:
        super().__init__(1)
        self.allowed = Event()
        self._error = error

    def tools(self) -> Sequence[Tool]:
        assert self.allowed.wait(5)
        if self._error:
            raise UsageError(self._error, "Look for it.")
        return super().tools()


def test_tools_that_start_beside_the_model_are_offered_once_they_are_there() -> None:
    source = Starting()
    tools = Toolbox([source], [Tool("declared")])
    tools.start()
    assert not tools.wait()
    assert [tool.name for tool in tools.offered] == ["declared"]
    source.allowed.set()
    assert tools.wait(5)
    assert [tool.name for tool in tools.offered] == ["declared", "meet"]


def test_a_source_that_starts_does_not_delay_another_that_is_added() -> None:
    source, commands = Starting(), ToolCommands((Tool("note"),), {})
    tools = Toolbox([source])
    tools.start()
    tools.add(commands)
    assert [tool.name for tool in tools.offered] == ["note"]
    tools.remove(commands)
    assert not tools.offered
    source.allowed.set()
    assert tools.wait(5)


def test_tools_that_fail_to_start_are_left_out_and_the_reason_is_said() -> None:
    source = Starting("the server ended")
    tools = Toolbox([source])
    tools.start()
    source.allowed.set()
    assert tools.wait(5)
    assert not tools.offered
    assert tools.notes() == ["Not offered to the model: the server ended. Look for it."]


class Failing(Together):
    """Fails in every way that a bug can."""

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        raise TimeoutError(call.arguments)

    def close(self) -> None:
        super().close()
        raise OSError("cannot be closed")


def test_a_timeout_of_a_source_is_not_taken_for_a_call_that_runs() -> None:
    runner = Toolbox([Failing(1)]).open()
    (outcome,) = outcomes_of(runner.run([ToolCall("meet", '"early"')], Asked(), lambda: True))
    assert "meet cannot run now" in outcome.result
    assert "early" in outcome.result


def test_all_sources_are_closed_even_if_one_fails() -> None:
    sources = [Together(1), Failing(1), Together(1)]
    with pytest.raises(OSError, match="cannot be closed"):
        Toolbox(sources).close()
    assert [source.closed for source in sources] == [1, 1, 1]


class Full(Together):
    """A source on a full disk."""

    def __init__(self, *, asks: bool) -> None:
        super().__init__(1)
        self._asks = asks

    def question(self, call: ToolCall) -> None:
        if self._asks:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def run(self, call: ToolCall, keep_going: KeepGoing) -> ToolOutcome:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("asks", [True, False])
def test_what_the_system_refuses_a_tool_is_the_models_to_read(asks: bool) -> None:
    runner = Toolbox([Full(asks=asks)]).open()
    (outcome,) = outcomes_of(runner.run([ToolCall("meet", "{}")], Asked(), lambda: True))
    assert not outcome.ok
    assert "meet cannot run now: No space left on device" in outcome.result
