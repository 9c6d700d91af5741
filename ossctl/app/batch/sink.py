"""Where the records of a batch are written."""

from dataclasses import dataclass
from pathlib import Path

from ossctl.app.user_text import refuse_stdout
from ossctl.app.wire.source import Source
from ossctl.errors import UsageError
from ossctl.storage.journal import check_output_path, is_regular, stdout_journal
from ossctl.storage.same_file import is_same_file

_STDIN, _STDOUT = 0, 1


@dataclass(frozen=True)
class Sink:
    """Where records are written and in which form; stdout if `path` is None.

    An output that exists is an error unless `overwrite` or `resume` is set.
    """

    path: Path | None
    overwrite: bool = False
    resume: bool = False
    durable: bool = False
    flat: bool = False
    keep_input: bool = False
    report: Path | None = None

    @property
    def is_file(self) -> bool:
        """Whether the output is a regular file, existing or not: only that can be read back."""
        return self.path is not None and is_regular(self.path)

    @property
    def crash_hint(self) -> str:
        """A sentence for the user that says which results survive a crash."""
        if not self.is_file:
            return "All answers written so far are complete."
        return f"Finished results are in {self.path}; use --resume to continue."

    def check(self, source: Source) -> None:
        """Raise UsageError for files that can't be written, or are the input."""
        if self.resume and self.overwrite:
            raise UsageError("--resume and --overwrite cannot be combined")
        if self.report is not None:
            check_output_path(self.report, overwrite=True)
            refuse_stdout(self.report, "--report")
            others = (source.path or _STDIN, self.path)
            if any(other is not None and is_same_file(self.report, other) for other in others):
                raise UsageError(f"--report would overwrite {self.report}", "Choose another file.")
        if is_same_file(self.path or _STDOUT, source.path or _STDIN):
            raise UsageError(f"{self.path or 'standard output'} is the input", "Choose another file with -o.")
        if self.path is None:
            stdout_journal()
        else:
            check_output_path(self.path, overwrite=self.overwrite or self.resume)
        if self.resume and not self.is_file:
            raise UsageError("--resume needs an output that is a file", "Use -o FILE.")
