"""Our graders in Inspect: as scorers, in the task of a file of questions, and for other tasks."""

import asyncio
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai.model import ChatMessageUser, ModelName, ModelOutput, StopReason
from inspect_ai.scorer import Score, Scorer, Target
from inspect_ai.solver import TaskState

from ossctl.app.eval.inspect import scorers
from ossctl.app.eval.inspect.question_task import question_task
from ossctl.errors import UsageError

CITIES = ["London", "Paris", "Rome"]


def score(
    scorer: Scorer,
    text: str,
    *targets: str,
    choices: list[str] | None = None,
    stop: StopReason = "stop",
    metadata: dict[str, Any] | None = None,
) -> Score:
    target = Target(list(targets))
    state = TaskState(
        model=ModelName("ossctl/none"),
        sample_id="1",
        epoch=1,
        input="What?",
        messages=[ChatMessageUser(content="What?")],
        target=target,
        choices=choices,
        output=ModelOutput.from_content("none", text, stop_reason=stop),
        metadata=metadata or {},
    )
    found = asyncio.run(scorer(state, target))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "stop", "value", "outcome"),
    [
        ("It is **(B)**.", "stop", "C", "correct"),
        ("ANSWER: C", "stop", "I", "wrong"),
        ("A, B and C", "stop", "I", "wrong"),
        ("Let me see. London", "max_tokens", "N", "truncated"),
        ("", "model_length", "N", "truncated"),
        ("", "stop", "N", "failed"),
    ],
)
def test_a_score_has_value_answer_and_outcome(text: str, stop: StopReason, value: str, outcome: str) -> None:
    found = score(scorers.choice(), text, "B", choices=CITIES, stop=stop)
    assert (found.value, found.metadata) == (value, {"outcome": outcome, "score": float(value == "C")})


@pytest.mark.parametrize(
    ("task", "text", "target"),
    [
        ("inspect_evals/gsm8k", "So she has \\boxed{1,000} of them.", "1000"),
        ("aime2025", "**ANSWER: 042**\n\nI hope this helps.", "42"),
        ("inspect_evals/math", "\\boxed{\\dfrac{1}{2}}", "\\frac12"),
        ("inspect_evals/math", "\\boxed{ (x+1)(x-1) }", "(x + 1)(x - 1)"),
    ],
)
def test_other_tasks_get_a_scorer_that_reads_usual_forms(task: str, text: str, target: str) -> None:
    scorer = scorers.scorer_for(task)
    assert scorer is not None
    assert score(scorer, text, target).value == "C"


def test_tasks_that_grade_in_their_own_way_keep_their_scorers() -> None:
    assert scorers.scorer_for("inspect_evals/humaneval") is None
    assert scorers.scorer_for("inspect_evals/ifeval") is None


def test_a_program_grades_in_part_and_its_failure_is_no_score() -> None:
    part = score(scorers.program(f"{sys.executable} -c 'print(0.5)'"), "x", "y")
    assert (part.value, part.metadata) == (0.5, {"outcome": "wrong", "score": 0.5})
    broken = score(scorers.program("no-such-grader"), "x", "y")
    assert math.isnan(broken.as_float())
    assert (broken.reason, broken.metadata) == ("grader_failed", {"outcome": "failed", "score": 0.0})
    with pytest.raises(UsageError, match="grader program"):
        scorers.program("'")


def graded(task: Task, index: int, text: str) -> Score:
    sample = task.dataset[index]
    assert task.scorer is not None
    return score(task.scorer[0], text, *sample.target, choices=sample.choices, metadata=sample.metadata)


def test_a_file_of_questions_is_a_task(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"question": "6 * 7?", "answer": 42, "topic": "sums", "tolerance": 0.5},
        {"id": "city", "question": "France?", "choices": CITIES, "answer": "Paris", "system": "Be brief."},
        {"question": "JSON?", "grader": "schema", "schema": {"type": "array"}},
        {"question": "A time?", "grader": "regex", "answer": r"\d+:\d\d"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    task = question_task(str(path))
    assert (task.name, [sample.id for sample in task.dataset]) == ("mine", ["1", "city", "3", "4"])
    assert task.dataset[1].input[0].text == "Be brief."  # type: ignore[union-attr]
    assert task.dataset[0].metadata == {
        "topic": "sums",
        "ossctl": {"question": "6 * 7?", "grader": "number", "tolerance": 0.5, "schema": None},
    }
    texts = ("about 42.3", "Paris", "[1]", "12:30")
    assert [graded(task, index, text).value for index, text in enumerate(texts)] == ["C"] * 4
    assert [graded(task, index, "none at all").value for index in range(4)] == ["I"] * 4
    shuffled = question_task(str(path), template="{question} {choices}", shuffle_choices=1).dataset[1]
    assert shuffled.choices is not None
    assert shuffled.choices["ABC".index(shuffled.target[0])] == "Paris"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grader": "fuzzy"}, "'fuzzy' is not a grader"),
        ({"grader": "program"}, "needs a program as grader"),
        ({"template": "hi"}, "the template has no"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "?", "answer": "x"}')
    with pytest.raises(UsageError, match=message):
        question_task(str(path), **options)
