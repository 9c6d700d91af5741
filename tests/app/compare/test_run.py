"""A comparison from its job to its outcome, with nano."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import pytest

from ossctl.app.compare.contestants import Settings, entrants_of
from ossctl.app.compare.job import CompareJob
from ossctl.app.compare.prompts import read_prompts
from ossctl.app.compare.results import Answer, Contestant, Verdict
from ossctl.app.compare.run import Outcome, run_compare
from ossctl.app.compare.store import NotWritten, Outputs
from ossctl.app.inference.defaults import Defaults
from ossctl.app.library.references import Given
from ossctl.app.library.resolve import NANO_FILE
from ossctl.app.placement.load_options import LoadOptions
from ossctl.dialect import Effort
from ossctl.engine.request import Sampling
from ossctl.errors import ExitCode, UsageError

NORWAY, SUM = "What is the capital of Norway?", "What is 47 plus 38?"


class Watch:
    """A view that keeps what it is shown."""

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self.failures: list[str] = []
        self.opinions = 0

    def loading(self, label: str) -> None: ...

    def answering(self, label: str, done: int, of: int, tokens: int) -> None: ...

    def finished(self, contestant: Contestant, answers: Sequence[Answer]) -> None: ...

    def failed(self, labels: Sequence[str], message: str) -> None:
        self.failures.append(f"{', '.join(labels)}: {message}")

    def judged(self, judge: str, count: int) -> None:
        self.opinions += count

    def remark(self, text: str) -> None:
        self.remarks.append(text)


def job(outputs: Outputs, prompts: Sequence[str], *efforts: Effort, max_tokens: int = 40) -> CompareJob:
    return CompareJob(
        entrants_of([Given("nano", NANO_FILE)], Settings(efforts=efforts)),
        read_prompts(prompts, None),
        Defaults(max_tokens=max_tokens, sampling=Sampling(temperature=0.0)),
        LoadOptions(threads=1, cache_bytes=0),
        outputs=outputs,
    )


def run(asked: CompareJob, view: Watch | None = None) -> Outcome:
    with asked.outputs:
        return run_compare(asked, view or Watch())


def test_a_resumed_comparison_keeps_answers_and_adds_contestants(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    first = run(job(Outputs([path]), [NORWAY], "low", "high"))
    assert first.exit_code == ExitCode.DONE
    efforts: tuple[Effort, ...] = ("low", "high", "medium")
    again = run(job(Outputs([path], resume=True), [NORWAY, SUM], *efforts)).comparison
    assert len(again.answers) == 6
    assert first.comparison.answers.items() <= again.answers.items()
    with pytest.raises(UsageError, match="also has the contestant 'nano · medium'"):
        run(job(Outputs([path], resume=True), [NORWAY, SUM], "low", "high"))
    view = Watch()
    changed = run(job(Outputs([path], resume=True), [NORWAY, SUM], *efforts, max_tokens=5), view).comparison
    assert view.remarks[0] == "nano · low: 2 answers with other settings will be generated again."
    assert all(answer.finish_reason == "length" for answer in changed.answers.values())


def test_what_a_model_does_not_support_is_shown_once_for_all_its_contestants() -> None:
    asked = job(Outputs(), [NORWAY], "low", "high")
    view = Watch()
    variables = replace(asked.defaults, template_variables={"nonesuch": 1})
    assert run(replace(asked, defaults=variables), view).exit_code == ExitCode.USAGE
    (failure,) = view.failures
    assert failure.startswith("nano · low, nano · high: template variable nonesuch is not supported")


def test_an_output_that_cannot_be_written_is_no_fault_of_a_contestant(tmp_path: Path) -> None:
    class Remove(Watch):
        def finished(self, contestant: Contestant, answers: Sequence[Answer]) -> None:
            super().finished(contestant, answers)
            rmtree(tmp_path / "out")

    (tmp_path / "out").mkdir()
    view = Remove()
    outcome = run(job(Outputs([tmp_path / "out" / "a.jsonl"]), [NORWAY], "low", "high"), view)
    assert isinstance(outcome.ended_by, NotWritten)
    assert outcome.exit_code == ExitCode.FAILED
    assert view.failures == []
    assert [each.label for each in outcome.comparison.contestants] == ["nano · low"]
    assert len(outcome.comparison.answers) == 1


def test_a_judge_is_asked_in_both_orders_and_once(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"

    def judged(outputs: Outputs, view: Watch) -> Sequence[Verdict]:
        asked = replace(job(outputs, [SUM], "low", "high"), judge=Given("nano", NANO_FILE))
        return run(asked, view).comparison.verdicts

    view = Watch()
    (verdict,) = judged(Outputs([path]), view)
    assert view.opinions == 2
    assert all(each.verdict or each.failed for each in (verdict.opinion, verdict.swapped))
    kept = Outputs([path], resume=True).earlier()
    assert verdict in kept
    if verdict.ruling != "failed":
        assert judged(Outputs([path], resume=True), view) == [verdict]
        assert view.opinions == 2
