"""Programs of users that grade answers."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from ossctl.app.eval.grading.grade import Grade
from ossctl.app.eval.grading.program import grade_by_program
from ossctl.app.eval.question import GraderName, Question

QUESTION = Question(
    id="q1", text="What is 6 times 7?", grader=GraderName.PROGRAM, targets=("42",), metadata={"level": 1}
)


def grade_with(code: str, answer: str = "It is 42.", seconds: float = 20.0) -> Grade:
    return grade_by_program([sys.executable, "-c", code], QUESTION, answer, seconds, lambda: True)


def test_a_program_gets_question_answer_and_target_as_json(tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    grade_with(
        f"import sys; open({str(path)!r}, 'wb').write(sys.stdin.buffer.read())",
        answer="Ça fait 42 \U0001f600",
    )
    assert json.loads(path.read_text("utf-8")) == {
        "id": "q1",
        "question": "What is 6 times 7?",
        "answer": "Ça fait 42 \U0001f600",
        "target": "42",
        "choices": [],
        "metadata": {"level": 1},
    }


@pytest.mark.parametrize(
    ("code", "outcome", "score"),
    [
        ("pass", "correct", 1.0),
        ("print('fine')", "correct", 1.0),
        ("print('because'); print(0.25)", "wrong", 0.25),
        ("print(1)", "correct", 1.0),
        ("print('0')", "wrong", 0.0),
        ("print(7)", "correct", 1.0),
        ("raise SystemExit(1)", "wrong", 0.0),
        ("import json, sys; assert '43' in json.load(sys.stdin)['answer']", "wrong", 0.0),
        ("import json, sys; assert '42' in json.load(sys.stdin)['answer']", "correct", 1.0),
        ("raise SystemExit(2)", "failed", 0.0),
        ("import nothing_of_this_name", "failed", 0.0),
        ("import os; os.kill(os.getpid(), 9)", "failed", 0.0),
    ],
)
def test_the_exit_code_or_a_printed_score_is_the_grade(code: str, outcome: str, score: float) -> None:
    found = grade_with(code)
    assert (found.outcome, found.score) == (outcome, score)


def test_a_program_that_takes_too_long_prints_too_much_or_is_missing_has_failed() -> None:
    assert "took more than 0.3 s" in grade_with("import time; time.sleep(20)", seconds=0.3).explanation
    assert "printed more than" in grade_with("print('x' * 100_000)").explanation
    missing = grade_by_program(shlex.split("no-such-grader -x"), QUESTION, "42", 5.0, lambda: True)
    assert (missing.outcome, missing.explanation) == (
        "failed",
        "the grader no-such-grader: no-such-grader cannot be run: No such file or directory",
    )


def test_what_a_program_says_on_stderr_is_the_explanation() -> None:
    found = grade_with("import sys; sys.exit('off by one')")
    assert (found.outcome, found.explanation) == ("wrong", "off by one")
