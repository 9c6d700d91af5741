"""Inspect's tasks, made of what the user names, with our graders where Inspect's own fail."""

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from inspect_ai import Task
from inspect_ai._eval.loader import load_tasks  # what `eval` does with a name
from inspect_ai.dataset import MemoryDataset, Sample

from ossctl.app.eval.inspect import sandbox
from ossctl.app.eval.inspect.question_task import question_task
from ossctl.app.eval.inspect.questions_source import reading
from ossctl.app.eval.inspect.scorers import scorer_for
from ossctl.app.eval.tasks import NamedTask, TaskOptions, TaskSpec
from ossctl.errors import UsageError

_DOCKER_SECONDS = 20.0


@dataclass(frozen=True)
class LoadedTask:
    """A task whose questions all have ids. `set_size` is the number of them in the whole set."""

    spec: TaskSpec
    task: Task
    samples: Sequence[Sample]

    @property
    def set_size(self) -> int:
        return len(self.samples)

    def chosen(self, limit: int | None, sample: int | None, seed: int) -> list[int | str]:
        """The ids of the first `limit` questions, or of `sample` random ones; of all without either."""
        ids = [_id(each) for each in self.samples]
        if sample is not None and sample < len(ids):
            picked = set(Random(seed).sample(sorted(ids, key=str), sample))  # noqa: S311
            ids = [each for each in ids if each in picked]
        return ids[:limit]

    def of_questions(self, ids: Sequence[int | str]) -> Task:
        """The task with these questions alone. Raises UsageError if one is missing."""
        by_id = {_id(sample): sample for sample in self.samples}
        if missing := [each for each in ids if each not in by_id]:
            raise UsageError(
                f"{self.spec.name}: the question {str(missing[0])[:80]!r} no longer exists",
                "Start a new evaluation.",
            )
        self.task.dataset = MemoryDataset([by_id[each] for each in ids], name=self.task.dataset.name)
        return self.task


def load_task(spec: TaskSpec, options: TaskOptions) -> LoadedTask:
    """Read the questions of a task. Raises UsageError and OssctlError, which say what is missing."""
    if spec.questions is not None:
        task = _own(spec, options)
    elif spec.named is not None:
        task = _named(spec.named, options)
    else:
        with reading(spec.name):
            task = _only(load_tasks([spec.reference], dict(options.arguments)), spec.reference)
    if task.scorer is None:
        raise UsageError(f"{spec.name} cannot be graded: it has no answers and no scorer")
    samples = list(task.dataset)
    for number, sample in enumerate(samples, 1):
        sample.id = number if sample.id is None else sample.id
    if not samples:
        raise UsageError(f"{spec.name} has no questions")
    return LoadedTask(spec, task, samples)


def _own(spec: TaskSpec, options: TaskOptions) -> Task:
    grader = options.grader or ("model" if options.judged else None)
    try:
        return question_task(str(spec.questions), grader, **options.arguments)
    except TypeError as error:
        raise UsageError(f"-T: {error}", "Questions take template, shuffle_choices and program.") from None


def _named(named: NamedTask, options: TaskOptions) -> Task:
    _check_needs(named)
    arguments: dict[str, Any] = {**named.arguments, **options.arguments}
    if named.sandboxed and "sandbox" not in arguments:
        arguments["sandbox"] = _sandbox_for(named)
    with reading(named.name, named):
        task = _only(load_tasks([f"inspect_evals/{named.task}"], arguments), named.name)
    own = scorer_for(named.task)
    if own is not None:
        task = _rescored(task, own)
    return task


def _rescored(task: Task, scorer: Any) -> Task:
    task.scorer = [scorer]
    task.metrics = None
    return task


def _only(tasks: Sequence[Task], name: str) -> Task:
    if len(tasks) != 1:
        if not tasks:
            raise UsageError(f"there is no task {name}")
        found = ", ".join(task.name for task in tasks)
        raise UsageError(f"{name} defines {len(tasks)} tasks: {found}", "Name one: FILE.py@TASK.")
    return tasks[0]


def _check_needs(named: NamedTask) -> None:
    for module, package in named.packages.items():
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"{named.name} needs the package {module}", f"Install it: pip install {package}")
    if named.in_docker and (problem := _docker_problem()):
        raise UsageError(f"{named.name} runs programs in Docker images, and {problem}")


def _sandbox_for(named: NamedTask) -> str:
    """Docker where it works, else bubblewrap. Raises UsageError without either."""
    problem = _docker_problem()
    if not problem:
        return "docker"
    if not (other := sandbox.problem()):
        return sandbox.NAME
    raise UsageError(
        f"{named.name} runs the model's programs in a sandbox, but {problem}, and {other}",
        "Install Docker or bubblewrap. -T sandbox=local runs them unprotected.",
    )


def _docker_problem() -> str:
    """Why Docker cannot be used; "" if it can."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    try:
        argv = ("docker", "info", "--format", "{{.ServerVersion}}")
        found = subprocess.run(  # noqa: S603 (docker)
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_DOCKER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"Docker does not answer: {error}"
    return "" if found.returncode == 0 and found.stdout.strip() else "the Docker daemon is not running"


def _id(sample: Sample) -> int | str:
    if sample.id is None:
        raise ValueError("a question without an id")
    return sample.id
