"""The files that a comparison is written to, and reading one back."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Self

import msgspec

from ossctl.app.compare.html import html_of
from ossctl.app.compare.markdown import markdown_of
from ossctl.app.compare.results import SCHEMA, Comparison, Head, Record, decoded, encoded
from ossctl.errors import OssctlError, UsageError
from ossctl.storage.atomic import atomic_write
from ossctl.storage.journal import FilePolicy, OutputFile, check_output_path, is_regular

JSONL = ".jsonl"
_SECONDS_BETWEEN_WRITES = 1.0  # while answers arrive
_MAX_SHARE = 0.05  # of the time for writing

Write = Callable[[Comparison], str]


class NotWritten(OssctlError):
    """An output cannot be written. It has what was written before."""


@dataclass
class Outputs:
    """Files of several kinds, written whole and atomically, and locked while this is entered.

    `diff` and `reasoning` are what pages show.
    """

    paths: Sequence[Path] = ()
    overwrite: bool = False
    resume: bool = False
    diff: bool = False
    reasoning: bool = False
    _due: float = 0.0
    _files: dict[Path, OutputFile] = field(default_factory=dict)  # those that are locked
    _locks: ExitStack = field(default_factory=ExitStack)

    def check(self) -> None:
        """Raise UsageError for files of an unknown kind, or that can't be written."""
        for number, path in enumerate(self.paths):
            if path in self.paths[:number]:
                raise UsageError(f"-o {path} is given twice")
            if path.suffix.lower() not in (*self._pages, JSONL):
                raise UsageError(
                    f"-o {path}: a comparison is written as .jsonl, .md or .html",
                    "Choose one of these names.",
                )
            check_output_path(path, overwrite=self.overwrite or self.resume)
        if self.resume and self.overwrite:
            raise UsageError("--resume and --overwrite cannot be combined")
        if self.resume and self.kept is None:
            raise UsageError("--resume needs the file of the comparison", "Give it with -o FILE.jsonl.")

    @property
    def kept(self) -> Path | None:
        """The file that keeps everything."""
        return next((path for path in self.paths if path.suffix.lower() == JSONL), None)

    def __enter__(self) -> Self:
        """Lock the files, and create those that are missing. Raises UsageError."""
        with ExitStack() as locks:
            for path in self.paths:
                if is_regular(path):
                    file = OutputFile(FilePolicy(path), overwrite=self.overwrite)
                    self._files[path] = locks.enter_context(file)
                    file.create()
            self._locks = locks.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._files.clear()
        self._locks.close()

    def write(self, comparison: Comparison) -> None:
        """Write all files, first the one that keeps everything. Raises NotWritten."""
        self.keep(comparison, now=True)
        for path in self.paths:
            if path != self.kept:
                render = self._pages.get(path.suffix.lower())
                text = render(comparison) if render else encoded(comparison.records()).decode()
                self._put(path, text.encode())

    def keep(self, comparison: Comparison, *, now: bool = False) -> None:
        """Write the file that keeps everything; unless `now`, at most once a second. Raises NotWritten."""
        started = monotonic()
        if self.kept is not None and (now or started >= self._due):
            self._put(self.kept, encoded(comparison.records()))
            took = monotonic() - started
            self._due = started + max(_SECONDS_BETWEEN_WRITES, took / _MAX_SHARE)

    def earlier(self) -> list[Record]:
        """What the file has, if it is to be resumed. Raises UsageError if it is not a comparison's."""
        if not self.resume or self.kept is None or not self.kept.exists():
            return []
        try:
            records = decoded(self.kept.read_bytes())
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UsageError(f"{self.kept} is not a comparison file: {error}") from None
        except OSError as error:
            raise UsageError(f"cannot read {self.kept}: {error.strerror}") from None
        if records and not (isinstance(records[0], Head) and records[0].schema == SCHEMA):
            raise UsageError(f"{self.kept} is not a comparison file", "Choose another file.")
        return records

    def _put(self, path: Path, data: bytes) -> None:
        file = self._files.get(path)
        try:
            if file is None:
                atomic_write(path, data)
            else:
                file.replace(lambda target: target.writelines([data]))
        except OssctlError as error:
            raise NotWritten(error.message, error.hint) from None

    @property
    def _pages(self) -> Mapping[str, Write]:
        return {
            ".md": lambda comparison: markdown_of(comparison, diff=self.diff, reasoning=self.reasoning),
            ".html": lambda comparison: html_of(comparison, diff=self.diff),
        }
