"""The folder of an evaluation: what was asked, Inspect's logs, results and reports, and unfinished work.

Each finished answer is appended to a journal of its task before the next progress is shown, so that it
survives a process that is killed: Inspect writes its log files in one piece when a task ends. When a task is
complete, its result is in `results.json` and the journal is deleted.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from ossctl.app.eval.report.data import from_json, to_csv, to_json
from ossctl.app.eval.report.markdown import markdown
from ossctl.app.eval.report.page import html
from ossctl.app.eval.results import Evaluation, TaskResult
from ossctl.errors import OssctlError, UsageError
from ossctl.storage.atomic import atomic_write
from ossctl.storage.journal import FilePolicy, Journal, OutputFile
from ossctl.storage.lock import try_lock

SCHEMA = "ossctl.eval-job/1"
JOB, RESULTS, LOGS, UNFINISHED = "eval.json", "results.json", "logs", "unfinished"
_LOCK = ".lock"


class NotWritten(OssctlError):
    """The folder cannot be written, so that no answer would be kept."""


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotWritten(f"cannot write {path}: {error.strerror}") from None
    except OssctlError as error:
        raise NotWritten(error.message, error.hint) from None


class JobRecord(msgspec.Struct, kw_only=True):
    """`eval.json`: the words of the command line, and the ids of the questions of each task.

    `cwd` is the folder that paths in them are relative to; "" if it is not known. `environment` are the
    variables that set options, `configured` the options that config files set, and `finished` the models that
    have nothing left to answer.
    """

    date: str
    arguments: list[str]
    cwd: str = ""
    environment: dict[str, str] = {}
    configured: dict[str, Any] = {}
    questions: dict[str, list[int | str]] = {}
    finished: list[str] = []
    schema: str = SCHEMA


class Entry(msgspec.Struct, frozen=True):
    """A finished answer, as Inspect's sample. `seconds` and `wh` are of the task until then.

    The sample is text: Inspect writes NaN for what is not graded, which is no JSON.
    """

    seconds: float
    wh: float | None
    sample: str


@dataclass
class TaskJournal:
    """The finished answers of a task that is not complete. `earlier` are those of earlier runs."""

    file: OutputFile
    journal: Journal
    earlier: Sequence[Entry] = ()

    def append(self, sample: bytes, seconds: float, wh: float | None) -> None:
        """Add a finished answer. Raises NotWritten."""
        with _writing(self.file.path):
            self.journal.append(msgspec.json.encode(Entry(seconds, wh, sample.decode())))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as parts:
            parts.callback(self.file.close)
            parts.callback(self.journal.close)


@dataclass
class EvalFolder:
    """A folder that no other process writes while it is entered.

    A new one is removed again if not even the questions could be read, or the model can't be asked them so.
    """

    path: Path
    record: JobRecord
    is_new: bool = False
    _parts: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def create(cls, path: Path, record: JobRecord) -> "EvalFolder":
        """Make the folder, which may exist if it is empty. Raises UsageError."""
        try:
            is_new = not path.exists()
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                hint = f"--resume {path} continues an evaluation; or choose another folder with -o."
                raise UsageError(f"{path} is not empty", hint)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None
        folder = cls(path, record, is_new)
        folder.save()
        return folder

    @classmethod
    def open(cls, path: Path) -> "EvalFolder":
        """The folder of an earlier evaluation. Raises UsageError."""
        try:
            record = msgspec.json.decode((path / JOB).read_bytes(), type=JobRecord)
        except OSError as error:
            reason = f"cannot read {path / JOB}: {error.strerror}"
            raise UsageError(reason, "Give the folder of an evaluation.") from None
        except msgspec.MsgspecError as error:
            raise UsageError(f"{path / JOB} is not of an evaluation: {error}") from None
        if record.schema != SCHEMA:
            raise UsageError(f"{path / JOB} has the schema {record.schema!r}, not {SCHEMA!r}")
        return cls(path, record)

    def save(self) -> None:
        """Write what is asked. Raises OssctlError."""
        atomic_write(self.path / JOB, msgspec.json.format(msgspec.json.encode(self.record)))

    def reopen(self, model: str) -> None:
        """Take note that a model has something left to answer. Raises OssctlError."""
        self.record.finished = [name for name in self.record.finished if name != model]
        self.save()

    @property
    def logs(self) -> Path:
        return self.path / LOGS

    def evaluation(self) -> Evaluation | None:
        """The results so far, of complete tasks and of others; None before the first. Raises UsageError."""
        path = self.path / RESULTS
        return from_json(path.read_bytes(), str(path)) if path.exists() else None

    def write(self, evaluation: Evaluation) -> None:
        """Write results and reports. Raises NotWritten."""
        with _writing(self.path):
            atomic_write(self.path / RESULTS, to_json(evaluation))
            atomic_write(self.path / "results.csv", to_csv(evaluation).encode())
            atomic_write(self.path / "report.md", markdown(evaluation, answers=True).encode())
            atomic_write(self.path / "report.html", html(evaluation).encode())

    def journal(self, name: str) -> TaskJournal:
        """The journal of a task, with its entries of earlier runs. Raises OssctlError."""
        path = self.path / UNFINISHED / f"{name}.jsonl"
        with _writing(path):
            path.parent.mkdir(exist_ok=True)
        file = OutputFile(FilePolicy(path), overwrite=False)
        entries, whole = _entries(path)
        file.truncate(whole)
        return TaskJournal(file, file.journal(), entries)

    def restore_journal(self, name: str, result: TaskResult, samples: Iterable[str]) -> None:
        """Write the journal of a task that was complete, with these of its samples. Raises OssctlError."""
        path = self.path / UNFINISHED / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        entries = (Entry(result.seconds, result.wh, sample) for sample in samples)
        atomic_write(path, msgspec.json.Encoder().encode_lines(entries))

    def forget_journal(self, name: str) -> None:
        """Delete the journal of a task whose result is written."""
        folder = self.path / UNFINISHED
        (folder / f"{name}.jsonl").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it has others
            folder.rmdir()

    def remove_other_logs(self, kept: Sequence[str]) -> None:
        """Delete logs of tasks that were not complete: what they have is in the journals."""
        for path in self.logs.glob("*.eval"):
            if path.name not in kept:
                path.unlink()

    def __enter__(self) -> Self:
        try:
            lock = self._parts.enter_context((self.path / _LOCK).open("wb"))
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None
        if not try_lock(lock):
            self._parts.close()
            raise UsageError(f"{self.path} is being written by another process", "Wait until it has ended.")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._parts.close()
        if self.is_new and (not self.record.questions or kind is UsageError):
            for name in (JOB, _LOCK):
                (self.path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others have put something there
                self.path.rmdir()


def _entries(path: Path) -> tuple[list[Entry], int]:
    """The entries of a journal, and the bytes that they take: a last line may be incomplete."""
    entries, whole = [], 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            entries.append(msgspec.json.decode(line, type=Entry))
        except msgspec.MsgspecError:
            if line.endswith(b"\n"):
                raise OssctlError(f"{path} is damaged after {len(entries):,} answers") from None
            break
        if not line.endswith(b"\n"):
            entries.pop()
            break
        whole += len(line)
    return entries, whole
