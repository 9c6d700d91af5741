"""What the CPU's plain kernels compute, into a file: what every device is compared with."""

from collections.abc import Iterator
from pathlib import Path

from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel, ModelOptions
from tools.devices.evaluation import CTX, N_SEQ, evaluate
from tools.devices.finding import Finding, Verdict
from tools.devices.task import Task


def run(task: Task) -> Iterator[Finding]:
    """One finding, when the file is there."""
    plain = ModelOptions(0, (), repack=False)
    with (
        LlamaModel(Path(task.path), plain) as model,
        LlamaRunner(model, ContextOptions(CTX, N_SEQ)) as runner,
    ):
        found = evaluate(runner)
    unfinished = Path(task.reference).with_suffix(".part.npz")
    found.write(unfinished)
    unfinished.replace(task.reference)
    yield Finding("reference", Verdict.OK, f"{len(found.tokens)} rows of logits")
