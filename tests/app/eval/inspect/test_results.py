"""Samples of Inspect's own scorers as samples of results."""

from typing import Any

import pytest
from inspect_ai._util.error import EvalError
from inspect_ai.log import EvalSample, EvalSampleLimit
from inspect_ai.model import ModelOutput, ModelUsage
from inspect_ai.scorer import Score

from ossctl.app.eval.inspect.results import sample_of
from ossctl.app.eval.tasks import arguments_of, specs_of

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Inspect's streams


def sample(value: Any = None, *, stop: Any = "stop", **fields: Any) -> EvalSample:
    scores = None if value is None else {"scorer": value if isinstance(value, Score) else Score(value=value)}
    return EvalSample(
        id=7,
        epoch=2,
        input="What?",
        target=["a", "b"],
        messages=[],
        output=ModelOutput.from_content("m", "the answer", stop_reason=stop),
        scores=scores,
        **fields,
    )


@pytest.mark.parametrize(
    ("found", "outcome", "score"),
    [
        (sample("C"), "correct", 1.0),
        (sample("I"), "wrong", 0.0),
        (sample("P"), "wrong", 0.5),
        (sample(True), "correct", 1.0),
        (sample(0.25), "wrong", 0.25),
        (sample(float("nan")), "failed", 0.0),
        (sample("I", stop="max_tokens"), "truncated", 0.0),
        (sample("C", stop="max_tokens"), "correct", 1.0),
        (sample("I", limit=EvalSampleLimit(type="token", limit=9)), "truncated", 0.0),
        (sample(limit=EvalSampleLimit(type="time", limit=9)), "truncated", 0.0),
        (sample(), "failed", 0.0),
        (sample({"inst_level_strict": 3, "prompt_level_strict": False}), "wrong", 0.0),
        (sample({"first": 1, "second": 0}), "correct", 1.0),
        (sample(Score(value="N", metadata={"outcome": "truncated", "score": 0.0})), "truncated", 0.0),
    ],
)
def test_outcomes(found: EvalSample, outcome: str, score: float) -> None:
    made = sample_of(found, "ossctl/m")
    assert (made.outcome, made.score, made.id, made.epoch, made.target) == (outcome, score, "7", 2, "a, b")


def test_errors_are_named_and_tokens_are_those_of_the_model_alone() -> None:
    usage = ModelUsage(
        input_tokens=5, input_tokens_cache_read=3, output_tokens=30, total_tokens=38, reasoning_tokens=20
    )
    error = EvalError(message="ValueError('it broke')", traceback="", traceback_ansi="")
    made = sample_of(sample(error=error, model_usage={"ossctl/m": usage, "judge": usage}), "ossctl/m")
    assert made.error == "it broke"
    assert (made.prompt_tokens, made.reasoning_tokens, made.answer_tokens) == (8, 20, 10)


def test_tasks_are_named_as_people_know_them() -> None:
    names = [spec.name for spec in specs_of(["AIME_2025", "tau2", "inspect_evals/boolq", "my.jsonl.gz"])]
    assert names == ["aime25", "tau2-airline", "tau2-retail", "tau2-telecom", "boolq", "my"]


def test_arguments_of_tasks_are_json_or_text() -> None:
    given = [
        "fewshot=5",
        "subjects=a,b",
        'list=["a"]',
        "shuffle-choices=true",
        "template={question}",
    ]
    assert arguments_of(given) == {
        "fewshot": 5,
        "subjects": "a,b",
        "list": ["a"],
        "shuffle_choices": True,
        "template": "{question}",
    }
