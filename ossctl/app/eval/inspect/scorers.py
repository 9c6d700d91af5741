"""Our graders as scorers of Inspect: `ossctl/choice`, `ossctl/number` and so on.

The metadata of a score has `outcome` and `score`, as `Sample` in results.py. Its value is C or I, a number
if the answer is right in part, N if there is no whole answer, and NaN, which no mean counts, if it is the
grader that has failed.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from anyio import to_thread
from inspect_ai.model import GenerateConfig, Model, get_model
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState

from ossctl.app.eval.graders import grade, grade_math
from ossctl.app.eval.grading.grade import Answer, Grade, without_answer
from ossctl.app.eval.grading.judge import grade_from_verdict, judge_prompt
from ossctl.app.eval.grading.plain_text import without_thinking
from ossctl.app.eval.grading.program import DEFAULT_SECONDS, grade_by_program
from ossctl.app.eval.question import GraderName, Question
from ossctl.app.tools.processes import argv_of

# The key of what our tasks store with a sample. Other tasks have no such entry.
QUESTION_KEY = "ossctl"

_METRICS = [accuracy(), stderr()]
_CUT = {"max_tokens", "model_length"}


@scorer(metrics=_METRICS)
def choice() -> Scorer:
    """The letter of the final answer; any of the targets is right."""
    return _scorer(GraderName.CHOICE)


@scorer(metrics=_METRICS)
def number(tolerance: float = 0.0) -> Scorer:
    """The number of the final answer."""
    return _scorer(GraderName.NUMBER, tolerance=tolerance)


@scorer(metrics=_METRICS)
def exact() -> Scorer:
    """The text of the final answer."""
    return _scorer(GraderName.EXACT)


@scorer(metrics=_METRICS)
def regex() -> Scorer:
    """The targets are patterns, one of which is found in the answer."""
    return _scorer(GraderName.REGEX)


@scorer(metrics=_METRICS)
def schema() -> Scorer:
    """The answer is JSON that fits the question's schema."""
    return _scorer(GraderName.SCHEMA)


@scorer(metrics=_METRICS)
def math() -> Scorer:
    """The number of the final answer, or its formula if the target is one."""

    async def score(state: TaskState, target: Target) -> Score:
        return _score(grade_math(_answer_of(state), tuple(target)))

    return score


@scorer(metrics=_METRICS)
def program(command: str, seconds: float = DEFAULT_SECONDS) -> Scorer:
    """A program of the user grades the answer, in at most `seconds`."""
    argv = argv_of(command, "grader program")

    async def score(state: TaskState, target: Target) -> Score:
        answer, question = _answer_of(state), _question_of(state, target)
        early = without_answer(answer) or _cut(answer)
        if early is not None:
            return _score(early)
        text = without_thinking(answer.text)
        return _score(await to_thread.run_sync(grade_by_program, argv, question, text, seconds, _always))

    return score


@scorer(metrics=_METRICS)
def model(judge: str | Model | None = None) -> Scorer:
    """Another model says whether the answer is right: `judge`, else the one with the role "grader"."""

    async def score(state: TaskState, target: Target) -> Score:
        answer, question = _answer_of(state), _question_of(state, target)
        early = without_answer(answer) or _cut(answer)
        if early is not None:
            return _score(early)
        asked = get_model(judge) if judge is not None else get_model(role="grader")
        text = without_thinking(answer.text)
        prompt = judge_prompt(question.text, text, question.targets)
        verdict = await asked.generate(prompt, config=GenerateConfig(temperature=0.0))
        return _score(grade_from_verdict(text, verdict.completion))

    return score


@scorer(metrics=_METRICS)
def graded(
    command: str | None = None, seconds: float = DEFAULT_SECONDS, judge: str | Model | None = None
) -> Scorer:
    """Each question of a file of questions by its own grader."""
    by_program = None if command is None else program(command, seconds)
    by_model = model(judge)

    async def score(state: TaskState, target: Target) -> Score | None:
        question = _question_of(state, target)
        if question.grader is GraderName.PROGRAM and by_program is not None:
            return await by_program(state, target)
        if question.grader is GraderName.MODEL:
            return await by_model(state, target)
        return _score(grade(question, _answer_of(state)))

    return score


def _scorer(name: GraderName, **changes: Any) -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        return _score(grade(replace(_question_of(state, target), grader=name, **changes), _answer_of(state)))

    return score


def _answer_of(state: TaskState) -> Answer:
    output = state.output
    return Answer(output.completion, cut=bool(output.choices) and output.stop_reason in _CUT)


def _question_of(state: TaskState, target: Target) -> Question:
    """The question of a sample, of one of our tasks or of any other."""
    stored: Mapping[str, Any] = state.metadata.get(QUESTION_KEY) or {}
    return Question(
        id=str(state.sample_id),
        text=stored.get("question") or state.input_text,
        grader=GraderName(stored.get("grader", GraderName.EXACT)),
        targets=tuple(target) if any(target) else (),
        choices=tuple(choice.value for choice in state.choices),
        schema=stored.get("schema"),
        tolerance=stored.get("tolerance", 0.0),
        metadata={name: value for name, value in state.metadata.items() if name != QUESTION_KEY},
    )


def _cut(answer: Answer) -> Grade | None:
    return Grade("truncated", explanation="the answer was cut by the token limit") if answer.cut else None


def _score(grade: Grade) -> Score:
    metadata = {"outcome": grade.outcome, "score": grade.score}
    explanation = grade.explanation or None
    if grade.outcome == "failed" and grade.given:
        return Score.unscored(
            reason="grader_failed", answer=grade.given, explanation=explanation, metadata=metadata
        )
    value: str | float = {"correct": CORRECT, "wrong": INCORRECT}.get(grade.outcome, NOANSWER)
    if 0 < grade.score < 1:
        value = grade.score
    reason = "no_response" if grade.outcome == "failed" else None
    return Score(value=value, answer=grade.given, explanation=explanation, reason=reason, metadata=metadata)


def _always() -> bool:
    return True


# Tasks of inspect-evals whose own graders miss or mistake answers in a usual form, and the scorer instead.
_FIXED: dict[str, Callable[[], Scorer]] = {
    **dict.fromkeys(("aime2024", "aime2025", "aime2026", "gsm8k", "mgsm"), number),
    "math": math,
    **dict.fromkeys(
        (
            "arc_challenge",
            "arc_easy",
            "commonsense_qa",
            "gpqa_diamond",
            "hellaswag",
            "medqa",
            "mmlu_0_shot",
            "mmlu_5_shot",
            "mmlu_pro",
            "piqa",
            "pubmedqa",
            "race_h",
            "winogrande",
        ),
        choice,
    ),
}


def scorer_for(task: str) -> Scorer | None:
    """The scorer that replaces the own one of a task such as "inspect_evals/gsm8k"; None to keep that."""
    found = _FIXED.get(task.rpartition("/")[2])
    return found() if found else None
