"""Reading the questions of others' tasks: from the hub, or without it from what is in the cache."""

import importlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import Any

import datasets
from inspect_evals.utils import huggingface
from tenacity import RetryError

from ossctl.app.eval.inspect.log_lines import LogLines
from ossctl.app.eval.tasks import NamedTask
from ossctl.errors import OssctlError, UsageError
from ossctl.hub.datasets import cached_dataset, hub_is_reachable, offline_mode

_OFFLINE = {"ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "URLError"}
_CHATTY = ("huggingface_hub", "backoff", "datasets")
_LONGEST = 500  # characters of an error


@contextmanager
def reading(name: str, named: NamedTask | None = None) -> Iterator[None]:
    """While entered, a task's program runs: it does not print, or wait minutes for a hub that isn't there.

    Raises UsageError and OssctlError for all that goes wrong in it.
    """
    with ExitStack() as parts:
        parts.enter_context(redirect_stdout(LogLines()))
        parts.enter_context(_quiet(_CHATTY))
        parts.enter_context(_replaced(huggingface, "should_retry", lambda _error: False))
        parts.enter_context(_replaced(datasets, "load_dataset", _loader(datasets.load_dataset)))
        datasets.disable_progress_bars()
        if not hub_is_reachable():
            parts.enter_context(offline_mode())
            parts.enter_context(_replaced(datasets.config, "HF_HUB_OFFLINE", value=True))
        try:
            yield
        except OssctlError:
            raise
        except Exception as error:  # noqa: BLE001 (programs of others may fail in any way)
            raise _problem(name, named, error) from None


def _loader(usual: Any) -> Any:
    """`load_dataset` that without the hub reads what `hf download` has left in the cache."""

    def load_dataset(path: str, *args: Any, revision: str | None = None, **given: Any) -> Any:
        try:
            return usual(path, *args, revision=revision, **given)
        except Exception as error:
            folder = cached_dataset(path, revision) if _is_offline(error) else None
            if folder is None:
                raise
        return usual(str(folder), *args, **given)

    return load_dataset


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    usual = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, usual)


@contextmanager
def _quiet(names: Sequence[str]) -> Iterator[None]:
    """What these log are retries and the like, which end in an error that is shown."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logging.CRITICAL, logging.getLogger().level))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _problem(name: str, named: NamedTask | None, error: Exception) -> OssctlError:
    said = (" ".join(str(error).split()) or type(error).__name__)[:_LONGEST]
    if not _is_offline(error) and not (named and named.url):
        return UsageError(f"cannot read the task {name}: {said}")
    if named is None:
        return OssctlError(
            f"cannot fetch the questions of {name}: {said}", "Data sets in the cache work offline."
        )
    if named.url:
        hint = "They stay in ~/.cache/inspect_evals, which can be copied."
        if named.cached:
            hint = f"Fetch {named.url} where you can, and put it at ~/.cache/inspect_evals/{named.cached}."
        why = "there is no connection" if _is_offline(error) else said
        return OssctlError(f"cannot fetch the questions of {name}: {why}", hint)
    revision = _revision(named)
    command = f"hf download --repo-type dataset {named.dataset}"
    command += f" --revision {revision}" if revision else ""
    return OssctlError(
        f"cannot fetch the questions of {name} ({named.dataset}): the hub can't be reached",
        f"Run this where it can be: {command}\n"
        "and copy ~/.cache/huggingface here, or set HF_HOME to a copy. Data sets in it work offline.",
    )


def _is_offline(error: BaseException | None) -> bool:
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        said = str(error)
        if names & _OFFLINE or "offline mode" in said.lower() or "on the Hub" in said:
            return True
        inner = error.last_attempt.exception() if isinstance(error, RetryError) else None
        error = inner or error.__cause__ or error.__context__
    return False


def _revision(named: NamedTask) -> str:
    """The revision that inspect-evals takes the questions from."""
    package = importlib.import_module(f"inspect_evals.{named.task}.{named.task}")
    found = [value for key, value in vars(package).items() if key.endswith("DATASET_REVISION")]
    return str(found[0]) if found else ""
