"""Calls of one answer: asked about one by one, and none starts after a stop."""

import sys
from pathlib import Path

from ossctl.app.tools.command import ToolCommand
from ossctl.app.tools.runner import ToolRunner
from ossctl.dialect import ToolCall

CALLS = [ToolCall("note", f'{{"n":{n}}}') for n in range(3)]


def runner_of(log: Path, asked: list[str], *allowed: bool) -> ToolRunner:
    """Notes what is asked, and its program what it gets."""
    program = (sys.executable, "-c", f"import sys; open({str(log)!r}, 'a').write(sys.stdin.read())")
    replies = iter(allowed)

    def allow(call: ToolCall) -> bool:
        asked.append(call.arguments)
        return next(replies)

    return ToolRunner({"note": ToolCommand(program, 20.0)}, allow)


def test_several_calls_are_asked_about_one_by_one(tmp_path: Path) -> None:
    log, asked = tmp_path / "log", list[str]()
    runner = runner_of(log, asked, True, False, True)
    outcomes = [runner.run(call, lambda: True) for call in CALLS]
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert asked == [call.arguments for call in CALLS]
    assert log.read_text() == '{"n":0}{"n":2}'


def test_after_a_stop_no_call_is_asked_about_or_started(tmp_path: Path) -> None:
    log, asked = tmp_path / "log", list[str]()
    runner = runner_of(log, asked, True)
    outcomes = [runner.run(call, lambda: not asked) for call in CALLS]
    assert len(asked) == 1
    assert not log.exists()
    assert all("the user stopped this call" in outcome.result for outcome in outcomes)


def test_a_question_that_was_stopped_is_no_refusal(tmp_path: Path) -> None:
    asked: list[str] = []
    outcome = runner_of(tmp_path / "log", asked, False).run(CALLS[0], lambda: not asked)
    assert "the user stopped this call" in outcome.result


def test_the_user_is_not_asked_about_arguments_that_no_program_could_take(tmp_path: Path) -> None:
    asked: list[str] = []
    outcome = runner_of(tmp_path / "log", asked).run(ToolCall("note", '{"n":'), lambda: True)
    assert "not valid JSON" in outcome.result
    assert not asked


def test_only_calls_that_all_have_a_program_can_run(tmp_path: Path) -> None:
    runner = runner_of(tmp_path / "log", [])
    assert runner.can_run(CALLS)
    assert not runner.can_run([])
    assert not runner.can_run([*CALLS, ToolCall("other", "{}")])
