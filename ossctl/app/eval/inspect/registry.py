"""The entry point of Inspect's group `inspect_ai`: what ossctl registers there."""

from inspect_ai.model import ModelAPI, modelapi

from ossctl.app.eval.inspect.question_task import question_task
from ossctl.app.eval.inspect.scorers import choice, exact, graded, math, model, number, program, regex, schema

__all__ = [
    "choice",
    "exact",
    "graded",
    "math",
    "model",
    "number",
    "ossctl",
    "program",
    "question_task",
    "regex",
    "schema",
]


@modelapi("ossctl")
def ossctl() -> type[ModelAPI]:
    """Models as in `ossctl run -m`: `inspect eval task.py --model ossctl/20b`."""
    from ossctl.app.eval.inspect.provider import OssctlAPI  # Inspect loads all entry points, used or not

    return OssctlAPI
