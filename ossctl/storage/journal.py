"""A file of lines that is never left with half a line: the output of a batch.

A line is handed to the system whole and at once, so it outlives the process however that ends. Against a loss
of power the file is synced to the disk twice a minute, in the middle of the work and at its end, or with
`durable` after every line; whatever the disk then has of the last line, `repair` takes back.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from ossctl.errors import OssctlError, OutputClosed, UsageError
from ossctl.storage.compression import Encoder, Plain, encoder_for
from ossctl.storage.lock import try_lock

_SECONDS_BETWEEN_SYNCS = 30.0  # as often as Linux itself writes what is old; a sync may take 0.1 s
_SECONDS_BETWEEN_LOOKS = 1.0  # whether the file is still where it was
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Keeping:
    """What is done for a regular file at `path`, besides writing.

    With `durable` every line is synced. If it is deleted meanwhile, it is copied into the folder `refuge`.
    """

    path: Path
    durable: bool = False
    refuge: Path | None = None


class Journal:
    """Appends lines, each handed to the system whole and at once. The first one makes the file."""

    def __init__(
        self,
        open_file: Callable[[], BinaryIO],
        name: str,
        *,
        keeping: Keeping | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """Write to the unbuffered file that `open_file` gives; `name` is for messages.

        One that has `keeping` is closed by whoever opened it.
        """
        self._open_file = open_file
        self._file: BinaryIO | None = None
        self._encoder = encoder or Plain()
        self._keeping = keeping
        self.broken = False  # nothing can be written any more
        self._next_sync = self._next_look = 0.0
        self.name = name

    @property
    def can_be_resumed(self) -> bool:
        """Whether what is written can be read back: it is a file."""
        return self._keeping is not None

    def append(self, line: bytes) -> None:
        """Write `line` and its newline. Raises OutputClosed, OssctlError (a full disk, a lost device)."""
        file = self._opened()
        self._write(file, self._encoder.encode(line + b"\n"))
        if self._keeping is not None:
            self._look_after(file, self._keeping)

    def sync(self) -> None:
        """Have the disk keep what was appended. Raises OssctlError."""
        if self._file is None or self._keeping is None:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failure(error) from None
        self._next_sync = time.monotonic() + _SECONDS_BETWEEN_SYNCS

    def _opened(self) -> BinaryIO:
        if self._file is None:
            try:
                self._file = self._open_file()
            except OSError as error:
                raise self._failure(error) from None
            self._next_sync = time.monotonic() + _SECONDS_BETWEEN_SYNCS
        return self._file

    def _write(self, file: BinaryIO, encoded: bytes) -> None:
        data = memoryview(encoded)
        written = 0
        try:
            while written < len(data):
                accepted = file.write(data[written:])
                if accepted is None:  # a pipe that does not block is full
                    time.sleep(0.01)
                written += accepted or 0
        except BrokenPipeError:
            self.broken = True
            raise OutputClosed from None
        except OSError as error:
            self._take_back(file, written)
            raise self._failure(error) from None

    def _failure(self, error: OSError) -> OssctlError:
        self.broken = True
        hint = "What was written before is complete"
        hint += "; --resume goes on with it, once it can be written." if self.can_be_resumed else "."
        return OssctlError(f"cannot write {self.name}: {error.strerror}", hint)

    def _take_back(self, file: BinaryIO, n_bytes: int) -> None:
        """Remove the beginning of a line whose rest could not be written, where that is possible."""
        with contextlib.suppress(OSError):
            if n_bytes and file.seekable():
                os.ftruncate(file.fileno(), file.seek(-n_bytes, os.SEEK_CUR))

    def _look_after(self, file: BinaryIO, keeping: Keeping) -> None:
        now = time.monotonic()
        if keeping.durable or now >= self._next_sync:
            self.sync()
        if now >= self._next_look:
            self._next_look = now + _SECONDS_BETWEEN_LOOKS
            self._save_if_deleted(file, keeping)

    def _save_if_deleted(self, file: BinaryIO, keeping: Keeping) -> None:
        """Raise OssctlError if the file is no longer at its path, after saving what it holds."""
        if _is_at(file, keeping.path):
            return
        self.broken = True
        what = f"{keeping.path} was deleted or replaced while the batch was running"
        if keeping.refuge is None:
            raise OssctlError(what)
        copy = keeping.refuge / keeping.path.name
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("wb") as target:
                file.seek(0)
                while data := file.read(_COPY_BYTES):
                    target.write(data)
        except OSError as error:
            raise OssctlError(f"{what}, and {copy} cannot be written: {error.strerror}") from None
        raise OssctlError(what, f"What was finished is in {copy}: move it there and go on with --resume.")

    def close(self) -> None:
        """End the file. A second call does nothing. Raises OssctlError if what ends it can't be written."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if not self.broken:
                self._write(file, self._encoder.finish())
                if self._keeping is not None:
                    os.fsync(file.fileno())
                    self._save_if_deleted(file, self._keeping)
        except OSError as error:
            raise self._failure(error) from None
        finally:
            if self._keeping is None:
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except OssctlError:
            if kind is None:  # else what went wrong before is what has to be said
                raise


class OutputFile:
    """A regular file that one batch at a time writes, locked while this is entered."""

    def __init__(self, keeping: Keeping, *, overwrite: bool) -> None:
        """Raises UsageError if the file can't be written or another batch is at it."""
        self.path = keeping.path
        self._keeping = keeping
        self._overwrite = overwrite
        self._made = False
        self._file = self._open("r+b") if self.path.exists() else None

    def journal(self, encoder: Encoder | None = None) -> Journal:
        """What appends to it; `encoder` is one that has begun already.

        A file that isn't there is made, and is gone again in the end if nothing was written. With
        `overwrite`, what it held is gone at the first line.
        """
        if self._file is None:
            self._file, self._made = self._open("x+b"), True
        file = self._file

        def open_file() -> BinaryIO:
            if self._overwrite:
                file.truncate(0)
            file.seek(0, os.SEEK_END)
            return file

        encoder = encoder or encoder_for(self.path)
        return Journal(open_file, str(self.path), keeping=self._keeping, encoder=encoder)

    def cut(self, n_bytes: int, add: bytes = b"") -> None:
        """Leave the first `n_bytes`, and `add` after them. Raises OssctlError."""
        try:
            if self._file is not None:
                self._file.truncate(n_bytes)
                self._file.seek(n_bytes)
                self._file.write(add)
        except OSError as error:
            raise OssctlError(f"cannot write {self.path}: {error.strerror}") from None

    def replace(self, write: Callable[[BinaryIO], None]) -> None:
        """Put a file that `write` fills in its place, in one move; it stays locked. Raises OssctlError."""
        part = self.path.resolve().with_name(f".{self.path.name}.part")
        try:
            with part.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            self.close()  # Windows replaces no file that is open
            part.replace(self.path.resolve())
        except OSError as error:
            hint = f"{self.path} is as it was, with all that was written into it."
            raise OssctlError(f"cannot write {part}: {error.strerror}", hint) from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        self._file = self._open("r+b")

    def _open(self, mode: str) -> BinaryIO:
        try:
            file: BinaryIO = self.path.open(mode, buffering=0)  # type: ignore[assignment]
        except FileExistsError:
            raise UsageError(f"{self.path} exists", _CHOICES) from None
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None
        if not try_lock(file) or not _is_at(file, self.path):
            file.close()
            raise UsageError(f"{self.path} is being written by another batch", "Wait for it, or another -o.")
        return file

    def close(self) -> None:
        """Let go of it."""
        file, self._file = self._file, None
        if file is None:
            return
        unused = self._made and not os.fstat(file.fileno()).st_size and _is_at(file, self.path)
        file.close()
        if unused:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def standard_output() -> Journal:
    """A journal on stdout. Raises UsageError if that is closed."""
    if sys.stdout is None:  # `>&-`
        raise UsageError("standard output is closed", "Give -o a file.")
    return Journal(lambda: open(1, "wb", buffering=0, closefd=False), "standard output")


_CHOICES = "--resume goes on with it, --overwrite replaces it."


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
        raise UsageError(f"{path} exists", _CHOICES)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: Permission denied")


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether `path` still names this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
