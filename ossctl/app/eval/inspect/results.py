"""Inspect's samples as samples of our results."""

import ast
import math
from collections.abc import Mapping
from typing import Any

from inspect_ai.log import EvalSample
from inspect_ai.model import ModelUsage
from inspect_ai.scorer import Score

from ossctl.app.eval.results import Outcome, Sample

_LONGEST = 2_000  # characters that are kept of an answer, of which the log has all
_CUT = ("max_tokens", "model_length")
_LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
# What counts of scores with several values: IFEval's published figures are of whole prompts, strictly.
_PREFERRED = ("prompt_level_strict", "resolved", "reward", "accuracy")


def sample_of(found: EvalSample, model: str) -> Sample:
    """The outcome of one of Inspect's samples, and what `model` has generated for it."""
    outcome, score, given, error = _graded(found)
    usage = found.model_usage.get(model) or ModelUsage()
    reasoning = usage.reasoning_tokens or 0
    prompt = usage.input_tokens + (usage.input_tokens_cache_read or 0)
    target = found.target if isinstance(found.target, str) else ", ".join(found.target)
    return Sample(
        id=str(found.id),
        epoch=found.epoch,
        outcome=outcome,
        score=score,
        target=target[:_LONGEST],
        given=given[:_LONGEST],
        reasoning_tokens=reasoning,
        answer_tokens=max(0, usage.output_tokens - reasoning),
        prompt_tokens=prompt,
        seconds=round(found.working_time or 0.0, 3),
        error=error,
    )


def _graded(found: EvalSample) -> tuple[Outcome, float, str, str | None]:
    """The outcome, the score, what was given as answer, and why there is nothing to grade."""
    given = found.output.completion
    if found.error is not None:
        return "failed", 0.0, given, _line(_reason(found.error.message))
    score = next(iter((found.scores or {}).values()), None)
    if score is None:
        limit = found.limit and f"stopped by the limit of {found.limit.type}"
        return ("truncated" if limit else "failed"), 0.0, given, limit or "it was not graded"
    given = score.answer or given
    ours = (score.metadata or {}).get("outcome")
    if ours is not None:
        error = _line(score.explanation or "no answer") if ours == "failed" else None
        return ours, float((score.metadata or {}).get("score", 0.0)), given, error
    value = _number(score)
    if value is None:
        return "failed", 0.0, given, _line(score.explanation or f"graded {score.value!r}")
    if value >= 1:
        return "correct", 1.0, given, None
    cut = found.limit is not None or (found.output.choices and found.output.stop_reason in _CUT)
    return ("truncated", 0.0, given, None) if cut else ("wrong", max(0.0, value), given, None)


def _number(score: Score) -> float | None:
    """A score from 0 to 1; None if its value is none."""
    value: Any = score.value
    if isinstance(value, Mapping):
        named = next((value[name] for name in _PREFERRED if name in value), None)
        value = next(iter(value.values()), None) if named is None else named
    if isinstance(value, str):
        return _LETTERS.get(value)
    if not isinstance(value, bool | int | float) or math.isnan(value):
        return None
    return min(1.0, float(value))


def _reason(message: str) -> str:
    """The text of an error; Inspect's message is the exception's repr."""
    try:
        parsed = ast.parse(message, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return message
    first = parsed.args[0] if isinstance(parsed, ast.Call) and parsed.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else message


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]
