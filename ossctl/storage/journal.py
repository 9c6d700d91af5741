"""A file of lines that is never left with half a line: the output of a batch."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Self

from ossctl.errors import OssctlError, OutputClosed, UsageError


class Journal:
    """Appends lines, each handed to the system whole and at once. The first one makes the file."""

    def __init__(self, open_file: Callable[[], BinaryIO], name: str) -> None:
        """Write to the unbuffered file that `open_file` gives; `name` is for messages."""
        self._open_file = open_file
        self._file: BinaryIO | None = None
        self.name = name

    @classmethod
    def create(cls, path: Path, *, overwrite: bool) -> Self:
        """A new file at `path`. Raises UsageError if it exists, unless `overwrite`, or can't be made."""
        refuse_existing(path, overwrite=overwrite)
        return cls(lambda: path.open("wb" if overwrite or path.exists() else "xb", buffering=0), str(path))

    def append(self, line: bytes) -> None:
        """Write `line` and its newline. Raises OutputClosed, OssctlError (a full disk, a lost device)."""
        data = memoryview(line + b"\n")
        written = 0
        try:
            if self._file is None:
                self._file = self._open_file()
            while written < len(data):
                accepted = self._file.write(data[written:])
                if accepted is None:  # a pipe that does not block is full
                    time.sleep(0.01)
                written += accepted or 0
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            self._take_back(written)
            raise OssctlError(
                f"cannot write {self.name}: {error.strerror}", "What was written before is complete."
            ) from None

    def _take_back(self, n_bytes: int) -> None:
        """Remove the beginning of a line whose rest could not be written, where that is possible."""
        with contextlib.suppress(OSError):
            if n_bytes and self._file is not None and self._file.seekable():
                os.ftruncate(self._file.fileno(), self._file.seek(-n_bytes, os.SEEK_CUR))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise UsageError if a journal at `path` would replace something that it must not, or can't be made.

    Devices and pipes have nothing to lose.
    """
    try:
        is_directory, has_folder = path.is_dir(), path.parent.is_dir()
        taken = path.is_symlink() or path.is_file()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    if is_directory:
        raise UsageError(f"{path} is a directory", "Give -o a file.")
    if not has_folder:
        raise UsageError(f"there is no folder {path.parent} to write {path.name} in")
    if taken and not overwrite:
        raise UsageError(f"{path} exists", "Give --overwrite to replace it, or another -o.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: Permission denied")
