"""One run: what this machine has, then task after task, until all are done or time is up."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from ossctl.app.bench.server_process import find_server
from tests.support.rpc_servers import rpc_server
from tools.devices.agenda import Agenda
from tools.devices.batch import LEAST_REQUESTS, N_PREDICT
from tools.devices.finding import Finding, Verdict
from tools.devices.model_files import ModelFile, model_files
from tools.devices.options import Options
from tools.devices.process import Limit, Outcome, run
from tools.devices.report import Report, Row
from tools.devices.task import CHECKS, CPU, Kind, Task

_LIMIT_SMALL, _LIMIT_LARGE, _LIMIT_BATCH = 120, 420, 300  # seconds of a task
_LEAST_SMALL, _LEAST_LARGE = 5, 40  # seconds that have to be left to begin one
_LONG_BATCH = 150  # seconds of both sides together
_ROOT = Path(__file__).parents[2]

# Into every Python process that is started from here: RPC servers are devices of the process that names them.
_REGISTERING = "from tests.support.rpc_servers import register\nregister({addresses!r})\n"


def check_devices(options: Options) -> Report:
    """Run all tasks that fit into the budget. Raises ValueError for a model or device that is not there."""
    started = perf_counter()
    with ExitStack() as parts:
        scratch = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="ossctl-devices-")))
        started_here = [parts.enter_context(rpc_server()) for _ in range(options.n_servers)]
        addresses = (*started_here, *options.addresses)
        session = _Session(_environment(scratch, addresses), started + options.budget)
        machine = session.machine()
        devices = _chosen(options, [device["name"] for device in machine.figures.get("devices", [])])
        folder = options.folder or scratch
        folder.mkdir(parents=True, exist_ok=True)
        models = model_files(options.models, folder, filled=options.filled)
        server = find_server(options.llama_server)
        agenda = Agenda(options, devices, models, scratch, server, addresses)
        rows = tuple(session.rows(agenda))
    first = () if machine.verdict is Verdict.OK else (Row.of(Task(Kind.MACHINE), machine, 0.0),)
    return Report(machine.figures, (*first, *rows), perf_counter() - started)


class _Session:
    """Runs tasks, and knows what the earlier ones have shown."""

    def __init__(self, environment: Mapping[str, str], deadline: float) -> None:
        """`deadline` is by `perf_counter`, and also when the last process ends."""
        self._environment = environment
        self._deadline = deadline
        self._costs: dict[tuple[str, str], float] = {}  # seconds a token, of both sides, by model and device
        self._references: dict[str, Finding] = {}  # by file

    def machine(self) -> Finding:
        """What this machine is; it does not count against the time."""
        return run(Task(Kind.MACHINE), self._environment, Limit(_LIMIT_SMALL)).findings[0]

    def rows(self, agenda: Agenda) -> Iterator[Row]:
        """Of all tasks, each as soon as it is done; on stderr as well."""
        for task in agenda.tasks():
            outcome = self._outcome(agenda, task)
            for finding in outcome.findings:
                self._learn(task, finding)
                if not agenda.wants(finding.check):
                    continue
                row = Row.of(task, finding, outcome.seconds)
                print(row.line, file=sys.stderr, flush=True)
                yield row

    def _outcome(self, agenda: Agenda, task: Task) -> Outcome:
        model = agenda.model(task)
        large = model is not None and not model.small
        if self._left() < (_LEAST_LARGE if large else _LEAST_SMALL):
            return _left_out(task, "no time left for it")
        if task.kind is Kind.BATCH and (seconds := self._batch_seconds(task)) > _LONG_BATCH:
            return _left_out(task, f"{task.n_seq} at once would take some {seconds:,.0f} s here")
        if model is not None and (problem := _written(model)):
            return _left_out(task, problem)
        limit = _LIMIT_BATCH if task.kind is Kind.BATCH else _LIMIT_LARGE if large else _LIMIT_SMALL
        if task.kind is Kind.ANSWERS and (missing := self._missing_reference(agenda, task, limit)):
            why = f"the CPU's logits are missing: {missing.message}"
            return _without(task, missing.verdict, why)
        return self._run(task, limit)

    def _run(self, task: Task, limit: float) -> Outcome:
        left = max(0.0, self._left())
        return run(task, self._environment, Limit(min(limit, left), of_all=left < limit))

    def _missing_reference(self, agenda: Agenda, task: Task, limit: float) -> Finding | None:
        """Make the reference if it was not tried yet; what went wrong, if it is not there."""
        if task.reference not in self._references:
            (finding,) = self._run(agenda.reference_for(task), limit).findings
            self._references[task.reference] = finding
        finding = self._references[task.reference]
        return None if finding.verdict is Verdict.OK else finding

    def _left(self) -> float:
        return self._deadline - perf_counter()

    def _learn(self, task: Task, finding: Finding) -> None:
        """A batch tells what the next larger one will take, one sequence alone at least the order of it."""
        figures, key = finding.figures, (task.model, task.device)
        if ours := figures.get("ossctl"):
            self._costs[key] = 1 / ours + 1 / figures.get("llama_server", float("inf"))
        elif alone := figures.get("generation_speed"):
            self._costs.setdefault(key, 2 / alone if task.server else 1 / alone)

    def _batch_seconds(self, task: Task) -> float:
        """What it will take if more at once are no faster; 0 if nothing is known."""
        tokens = max(task.n_seq, LEAST_REQUESTS) * N_PREDICT
        return tokens * self._costs.get((task.model, task.device), 0.0)


def _written(model: ModelFile) -> str:
    """Write the model's file; why that cannot be, if so."""
    try:
        model.write()
    except OSError as error:
        return f"its file cannot be written: {error.strerror}"
    return ""


def _left_out(task: Task, why: str) -> Outcome:
    return _without(task, Verdict.LEFT_OUT, why)


def _without(task: Task, verdict: Verdict, why: str) -> Outcome:
    """Of a task that was not run."""
    return Outcome(tuple(Finding(check, verdict, why) for check in CHECKS[task.kind]), 0.0)


def _chosen(options: Options, found: list[str]) -> tuple[str, ...]:
    wanted = {name.upper() for name in options.devices} - {CPU}
    missing = wanted - {name.upper() for name in found}
    if missing:
        raise ValueError(f"llama.cpp sees no {', '.join(sorted(missing))}, but {', '.join([*found, CPU])}")
    return tuple(name for name in found if not options.devices or name.upper() in wanted)


def _environment(scratch: Path, addresses: tuple[str, ...]) -> dict[str, str]:
    """Of all processes: no settings of the user's, and what is found out here is not kept for him."""
    site = scratch / "site"
    site.mkdir()
    if addresses:
        (site / "sitecustomize.py").write_text(_REGISTERING.format(addresses=addresses), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OSSCTL_")}
    return {
        **kept,
        "OSSCTL_HOME": str(scratch / "home"),
        "PYTHONPATH": os.pathsep.join((str(site), str(_ROOT))),
        "PYTHONUTF8": "1",
        "GGML_NO_BACKTRACE": "1",  # a debugger would take its time
    }
