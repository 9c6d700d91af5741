"""Runs a task in Inspect: without its display, its servers, and files anywhere but in the folder of logs."""

import contextlib
import errno
import importlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import anyio
from anyio.lowlevel import current_token
from inspect_ai import Epochs, Task, eval_async
from inspect_ai._eval.task.task import PreviousTask  # what eval_retry and eval_set run
from inspect_ai._util.asyncfiles import AsyncFilesystem
from inspect_ai._util.logger import _logHandler as log_handlers
from inspect_ai.hooks import Hooks, SampleEnd, hooks
from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec
from inspect_ai.model import Model
from inspect_ai.util._display import init_display_type

from ossctl.app.eval.folder import NotWritten
from ossctl.app.eval.inspect.log_lines import LogLines
from ossctl.app.inference.interrupt import Interrupt
from ossctl.errors import OssctlError

_FULL = re.compile(rf"OSError\((?:{errno.ENOSPC}|{errno.EDQUOT}|{errno.EROFS}), '([^']+)'")
_CANCELLED = ("CancelledError(", "Cancelled(")


@dataclass(frozen=True)
class TaskRun:
    """A task with its questions, each asked `repeats` times. `earlier` are samples that need not run again.

    `settings` replace those of the task's own requests, by the names of GenerateConfig.
    """

    task: Task
    repeats: int
    logs: Path
    earlier: Sequence[EvalSample] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    judge: Model | None = None


def run_task(run: TaskRun, model: Model, interrupt: Interrupt, finished: Callable[[EvalSample], None]) -> str:
    """Answer and grade what `earlier` does not have; returns the name of the log file.

    `finished` gets each sample as soon as it is graded. Raises Interrupted, what `finished` raises,
    NotWritten if the disk is full, and OssctlError if the task itself fails.
    """
    _without_log_handler()
    watcher = _Watcher(finished)
    register = hooks("ossctl", "keeps finished answers")
    register(watcher.hooks())  # in the place of that of an earlier run
    with _kept_quiet():
        logs = anyio.run(_run, run, model, interrupt, watcher)
    if watcher.failure is not None:
        raise watcher.failure
    interrupt.check()
    if not logs:
        raise OssctlError("Inspect ended without a log")
    if logs[0].status != "success":
        error = logs[0].error
        if error and (full := _FULL.match(error.message)):
            raise NotWritten(f"cannot write {run.logs}: {full[1]}", "Use --resume once it can be written.")
        raise OssctlError(" ".join(error.message.split()) if error else f"the task is {logs[0].status}")
    return Path(logs[0].location).name


async def _run(run: TaskRun, model: Model, interrupt: Interrupt, watcher: "_Watcher") -> list[EvalLog]:
    loop: Any = current_token().native_token
    logs: list[EvalLog] = []
    with anyio.CancelScope() as scope:

        def stop() -> None:
            watcher.stopping = True
            loop.call_soon_threadsafe(scope.cancel)

        watcher.stop = interrupt.on_signal = stop
        interrupt.check()
        async with AsyncFilesystem():
            logs = await eval_async(
                _with_earlier(run, model),
                model=model,
                model_roles={} if run.judge is None else {"grader": run.judge},
                log_dir=str(run.logs),
                log_format="eval",
                log_realtime=False,  # it writes a database elsewhere
                epochs=Epochs(run.repeats, "mean"),
                fail_on_error=False,
                continue_on_fail=True,
                score_display=False,
                acp_server=False,
                ctl_server=False,
                **run.settings,
            )
    interrupt.on_signal = lambda: None
    return logs


def _with_earlier(run: TaskRun, model: Model) -> Any:
    if not run.earlier:
        return run.task
    spec = EvalSpec(
        created=datetime.now(UTC).isoformat(),
        task=run.task.name,
        dataset=EvalDataset(samples=len(run.task.dataset), shuffled=False),
        model=str(model),
        config=EvalConfig(epochs=run.repeats),
    )
    log = EvalLog(eval=spec, status="error", samples=list(run.earlier))
    return [PreviousTask(uuid4().hex, run.task, {}, None, None, run.task.sandbox, log, None)]


class _Watcher:
    """Hands finished samples over, and stops the run if that fails."""

    def __init__(self, finished: Callable[[EvalSample], None]) -> None:
        self._finished = finished
        self.failure: Exception | None = None
        self.stopping = False
        self.stop: Callable[[], None] = lambda: None

    def hooks(self) -> type[Hooks]:
        watcher = self

        class Finished(Hooks):
            async def on_sample_end(self, data: SampleEnd) -> None:
                watcher.receive(data.sample)

        return Finished

    def receive(self, sample: EvalSample) -> None:
        if sample.error is not None and (self.stopping or sample.error.message.startswith(_CANCELLED)):
            return
        try:
            self._finished(sample)
        except Exception as error:  # noqa: BLE001 (Inspect would only log it)
            self.failure = self.failure or error
            self.stop()


@contextlib.contextmanager
def _kept_quiet() -> Iterator[None]:
    """Keep Inspect from printing, and from writing anywhere but to its log and a temporary folder."""
    init_display_type("none")
    appdirs: Any = importlib.import_module("inspect_ai._util.appdirs")
    usual = appdirs.user_data_path
    with TemporaryDirectory(prefix="ossctl-inspect-") as folder, contextlib.redirect_stdout(LogLines()):
        appdirs.user_data_path = lambda *_, **__: Path(folder)
        try:
            yield
        finally:
            appdirs.user_data_path = usual


def _without_log_handler() -> None:
    """Keep Inspect's handler of log records, which writes files of its own, from being installed."""
    if log_handlers["handler"] is None:
        log_handlers["handler"] = logging.NullHandler()  # type: ignore[typeddict-item]
