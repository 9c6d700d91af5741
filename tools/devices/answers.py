"""Logits and likeliest tokens on a device against those of the CPU."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadOptions, load_model
from ossctl.app.placement.self_test import is_wrong
from ossctl.app.placement.shapes import shape_of_file
from ossctl.planning.workload import Purpose, Workload
from tools.devices.evaluation import CTX, N_SEQ, Evaluation, evaluate, shares
from tools.devices.finding import Finding, judged
from tools.devices.task import Task


def run(task: Task) -> Iterator[Finding]:
    """One finding: failed if a row of logits differs by more than rounding."""
    path, expected = Path(task.path), Evaluation.read(Path(task.reference))
    options = task.load_options(shape_of_file(path), LoadOptions(ctx=CTX, parallel=N_SEQ))
    with (
        Interrupt() as interrupt,
        load_model(path, options, Workload(Purpose.BATCH), interrupt, raw=True) as loaded,
    ):
        found = evaluate(loaded.runner, expected.tokens)
    yield _compared(expected, found)


def _compared(expected: Evaluation, found: Evaluation) -> Finding:
    share = shares(expected, found)
    wrong = [n for n, each in enumerate(share) if is_wrong(float(each))]
    same = int((expected.tokens == found.tokens).sum())
    faults = [f"{len(wrong)} of {len(share)} rows of logits are wrong"] if wrong else []
    message = f"logits within {share.max():.2%}, {same} of {len(share)} tokens the same"
    figures = {
        "largest_share": _number(float(share.max())),
        "median_share": _number(float(np.median(share))),
        "rows": len(share),
        "wrong_rows": len(wrong),
        "same_tokens": same,
    }
    return judged("answers", faults, message, figures)


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if np.isfinite(value) else None
