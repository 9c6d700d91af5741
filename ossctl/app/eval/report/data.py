"""A report as data: JSON that can be read back, and CSV with a line for each result."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import msgspec

from ossctl.app.eval.report.rows import Row, rows_of
from ossctl.app.eval.results import SCHEMA, Evaluation
from ossctl.errors import UsageError


def document(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation with all of its samples, and before them `summary`: the figures of `records`."""
    whole: dict[str, Any] = msgspec.to_builtins(evaluation)
    return {"schema": evaluation.schema, "summary": records(evaluation)} | whole


def to_json(evaluation: Evaluation) -> bytes:
    """`document`, indented."""
    return msgspec.json.format(msgspec.json.encode(document(evaluation)), indent=1) + b"\n"


def from_json(content: bytes, name: str) -> Evaluation:
    """Read what `to_json` has written; `name` is that of the file. Raises UsageError."""
    try:
        evaluation = msgspec.json.decode(content, type=Evaluation)
    except msgspec.DecodeError as e:
        raise UsageError(
            f"{name} is not an evaluation: {e}", "Give a file that `ossctl eval --json` wrote."
        ) from None
    if evaluation.schema != SCHEMA:
        raise UsageError(
            f"{name} has the schema {evaluation.schema!r}; this version of ossctl reads {SCHEMA!r}",
            "Run the evaluation again, or use the version of ossctl that wrote the file.",
        )
    return evaluation


def to_csv(evaluation: Evaluation) -> str:
    """A line for each result. Scores are shares from 0 to 1, and what is not known is empty."""
    lines = records(evaluation)
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(lines[0]) if lines else [], lineterminator="\n")
    if lines:
        writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def records(evaluation: Evaluation) -> Sequence[dict[str, Any]]:
    """The figures of each result, named and as numbers."""
    return [_record(row) for row in rows_of(evaluation)]


def _record(row: Row) -> dict[str, Any]:
    result, setting, model = row.result, row.result.setting, row.result.model
    return {
        "task": result.task,
        "model": model.name,
        "file": model.file,
        "quantization": model.quantization,
        "effort": setting.effort,
        "think": setting.think,
        "python": setting.python,
        "questions": row.n_questions,
        "set_size": result.set_size,
        "repeats": result.repeats,
        "answers": row.outcomes.total,
        **_estimate("score", row.score),
        **_estimate("pass_at_k", row.any_of),
        **_estimate("maj_at_k", row.most_of),
        "correct": row.outcomes.correct,
        "wrong": row.outcomes.wrong,
        "truncated": row.outcomes.truncated,
        "failed": row.outcomes.failed,
        "mean_reasoning_tokens": round(row.reasoning_tokens, 1),
        "mean_answer_tokens": round(row.answer_tokens, 1),
        "seconds": round(result.seconds, 3),
        "tokens_per_second": round(row.tokens_per_second, 2),
        "wh": result.wh,
        "published": row.published and round(row.published.value, 6),
        "published_source": row.published and f"{row.published.source.url} ({row.published.where})",
        **_estimate("difference", row.to_published),
        "conclusive": row.to_published and row.to_published.conclusive,
    }


def _estimate(name: str, estimate: Any) -> dict[str, float | None]:
    """The value and the ends of the interval, of an Estimate, a Difference or None."""
    parts = {"": "value", "_low": "low", "_high": "high"}
    return {f"{name}{end}": estimate and round(getattr(estimate, part), 6) for end, part in parts.items()}
