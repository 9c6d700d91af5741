"""Files of questions, asked of nano through Inspect: from the prompt to the score in the log."""

import json
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval  # noqa: A004 (Inspect's name)
from inspect_ai.log import EvalLog
from inspect_ai.model import GenerateConfig, get_model

from ossctl.app.eval.inspect import registry
from ossctl.app.eval.inspect.question_task import question_task
from ossctl.app.library.resolve import has_nano

assert registry.question_task is question_task

pytestmark = [
    pytest.mark.skipif(not has_nano(), reason="nano is not made yet: make nano"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Inspect's own
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # streams it leaves open
]

SUM = {"question": "What is 47 plus 38?", "answer": 85}


def run(folder: Path, *lines: dict[str, Any], max_tokens: int = 200, **options: Any) -> EvalLog:
    path = folder / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    model = get_model("ossctl/nano", config=GenerateConfig(temperature=0.0), ctx=1024, parallel=2)
    task = question_task(str(path), template="{question}", **options)
    (log,) = eval(
        task,
        model=model,
        log_dir=str(folder / "logs"),
        display="none",
        log_level="error",
        max_tokens=max_tokens,
    )
    assert log.status == "success", log.error
    return log


def outcomes(log: EvalLog) -> dict[str, Any]:
    assert log.samples is not None
    scores = {sample.id: (sample.scores or {})["graded"] for sample in log.samples}
    return {str(name): (score.metadata or {})["outcome"] for name, score in scores.items()}


def test_nano_is_graded_question_by_question(tmp_path: Path) -> None:
    choices = ["83", "85", "95", "75"]
    log = run(
        tmp_path,
        {"id": "right", **SUM},
        {"id": "not-right", "question": SUM["question"], "answer": 86},
        {"id": "by-text", "question": SUM["question"], "answer": "B", "choices": choices},
        {"id": "pattern", "question": SUM["question"], "answer": r"\b85\b", "grader": "regex"},
    )
    expected = {"right": "correct", "not-right": "wrong", "by-text": "correct", "pattern": "correct"}
    assert outcomes(log) == expected


def test_an_answer_that_is_cut_in_its_reasoning_is_not_wrong(tmp_path: Path) -> None:
    assert outcomes(run(tmp_path, {"id": "cut", **SUM}, max_tokens=3)) == {"cut": "truncated"}


def test_a_judge_that_answers_nonsense_is_a_failed_grade(tmp_path: Path) -> None:
    log = run(tmp_path, {"id": "judged", **SUM}, judge="ossctl/nano")
    assert outcomes(log) == {"judged": "failed"}
    assert log.samples is not None
    score = (log.samples[0].scores or {})["graded"]
    assert score.explanation is not None
    assert score.explanation.startswith("the judge gave no verdict: ")
