"""The journal of a batch: an append-only output that never ends in a partial line.

Each line is written to the file as soon as it is appended, so it survives the process however that ends. To
survive a power loss, a regular file is fsynced every 30 seconds while lines are appended and at the end, or
after every line if `durable`. `--resume` repairs a torn last line.
"""

import contextlib
import errno
import itertools
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, cast

from ossctl.errors import OssctlError, OutputClosed, UsageError, has_no_reader
from ossctl.storage.atomic import Replacement, create_file
from ossctl.storage.compression import Encoder, PlainEncoder, TerminalEncoder, encoder_for
from ossctl.storage.lock import try_lock

_SYNC_SECONDS = 30.0  # as often as Linux itself writes back dirty pages; an fsync may take 0.1 s
_CHECK_SECONDS = 1.0  # how often to check that the file has not been deleted
_LOCKED_HINT = "Wait until it has finished, or choose another file with -o."
_EXISTS_HINT = "Use --resume to continue it, or --overwrite to replace it."


@dataclass(frozen=True)
class FilePolicy:
    """How the regular file at `path` is protected while it is written.

    With `durable`, every line is fsynced. If the file is deleted, its contents are saved in `rescue_dir`.
    `locked_hint` says what to do if another program has locked it.
    """

    path: Path
    durable: bool = False
    rescue_dir: Path | None = None
    locked_hint: str = _LOCKED_HINT


class Journal:
    """Appends lines to a file, which is opened at the first one."""

    def __init__(
        self,
        open_file: Callable[[], BinaryIO],
        name: str,
        *,
        policy: FilePolicy | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """`open_file` returns an unbuffered file; `name` is for messages.

        With a `policy` the file is a regular one, and the caller closes it.
        """
        self._open_file = open_file
        self._file: BinaryIO | None = None
        self._encoder = encoder or PlainEncoder()
        self._policy = policy
        self.broken = False  # nothing more can be written
        self._next_sync = self._next_check = 0.0
        self.name = name

    @property
    def resumable(self) -> bool:
        """Whether the output is a regular file, which --resume can read back."""
        return self._policy is not None

    def append(self, line: bytes) -> None:
        """Write `line` and a newline. Raises OutputClosed, OssctlError (a full disk, a lost device)."""
        file = self._opened()
        self._write(file, self._encoder.encode(line + b"\n"))
        if self._policy is not None:
            self._protect(file, self._policy)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            try:
                self._file = self._open_file()
            except OSError as error:
                raise self._failure(error) from None
            self._next_sync = time.monotonic() + _SYNC_SECONDS
        return self._file

    def _write(self, file: BinaryIO, encoded: bytes) -> None:
        data = memoryview(encoded)
        written = 0
        try:
            while written < len(data):
                accepted = file.write(data[written:])
                if accepted is None:  # a non-blocking pipe is full
                    time.sleep(0.01)
                written += accepted or 0
        except OSError as error:
            if has_no_reader(error, file.fileno()):
                self.broken = True
                raise OutputClosed from None
            self._undo(file, written)
            raise self._failure(error) from None

    def _failure(self, error: OSError) -> OssctlError:
        self.broken = True
        hint = "All lines written so far are complete"
        hint += "; use --resume once the file can be written." if self.resumable else "."
        return OssctlError(f"cannot write {self.name}: {error.strerror}", hint)

    def _undo(self, file: BinaryIO, n_bytes: int) -> None:
        """Remove the `n_bytes` that were written of an incomplete line, if the file is seekable."""
        with contextlib.suppress(OSError):
            if n_bytes and file.seekable():
                os.ftruncate(file.fileno(), file.seek(-n_bytes, os.SEEK_CUR))

    def _protect(self, file: BinaryIO, policy: FilePolicy) -> None:
        now = time.monotonic()
        if policy.durable or now >= self._next_sync:
            self._sync(file)
        if now >= self._next_check:
            self._next_check = now + _CHECK_SECONDS
            self._rescue_if_deleted(file, policy)

    def _sync(self, file: BinaryIO) -> None:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            raise self._failure(error) from None
        self._next_sync = time.monotonic() + _SYNC_SECONDS

    def _rescue_if_deleted(self, file: BinaryIO, policy: FilePolicy) -> None:
        """Raise OssctlError if the file is no longer at its path, after copying it to `rescue_dir`."""
        if _is_at(file, policy.path):
            return
        self.broken = True
        what = f"{policy.path} was deleted or replaced while the batch was running"
        if policy.rescue_dir is None:
            raise OssctlError(what)
        try:
            copy = _copy_to_folder(file, policy.rescue_dir, policy.path.name)
        except OSError as error:
            problem = f"its contents cannot be saved in {policy.rescue_dir}: {error.strerror}"
            raise OssctlError(f"{what}, and {problem}") from None
        raise OssctlError(
            what, f"Its contents were saved as {copy}: move it back and continue with --resume."
        )

    def close(self) -> None:
        """End the compressed stream and fsync; safe to call twice. Raises as `append` does."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if not self.broken:
                self._write(file, self._encoder.finish())
                if self._policy is not None:
                    self._sync(file)
                    self._rescue_if_deleted(file, self._policy)
        finally:
            if self._policy is None:
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except OssctlError:
            if kind is None:  # do not hide an earlier error
                raise


class OutputFile:
    """A regular output file, locked against other programs until it is closed."""

    def __init__(self, policy: FilePolicy, *, overwrite: bool) -> None:
        """Raises UsageError if the file can't be written or another program has locked it."""
        self.path = policy.path
        self.policy = policy
        self._target = _target_of(policy.path)  # a file is created only where its name is not a link
        self._overwrite = overwrite
        self._created = False
        self._file = self._open("r+b") if self.path.exists() else None

    def create(self) -> BinaryIO:
        """Create the file if it is missing; `close` removes it if it is still empty."""
        if self._file is None:
            self._file, self._created = self._open("x+b"), True
        return self._file

    def journal(self) -> Journal:
        """Return a journal that appends to the file.

        A missing file is created. With `overwrite`, the first line replaces the old contents.
        """
        self.create()
        return Journal(self.open_at_end, str(self.path), policy=self.policy, encoder=encoder_for(self.path))

    def open_at_end(self) -> BinaryIO:
        """The file, positioned at its end; with `overwrite`, its old contents are removed."""
        file = self.create()
        if self._overwrite:
            file.truncate(0)
            self._overwrite = False
        file.seek(0, os.SEEK_END)
        return file

    def clear(self) -> None:
        """With `overwrite`, remove the old contents if no line has replaced them yet. Raises OssctlError."""
        if self._overwrite and not self._created:
            self.truncate(0, encoder_for(self.path).finish())

    def truncate(self, n_bytes: int, suffix: bytes = b"") -> None:
        """Keep the first `n_bytes` and append `suffix`. Raises OssctlError."""
        try:
            if self._file is not None:
                self._file.truncate(n_bytes)
                self._file.seek(n_bytes)
                self._file.write(suffix)
        except OSError as error:
            raise OssctlError(f"cannot write {self.path}: {error.strerror}") from None

    def replace(self, write: Callable[[BinaryIO], None]) -> None:
        """Replace the file atomically by one that `write` fills. Raises OssctlError.

        The new file is locked before it is moved, and the old one until then.
        """
        try:
            with Replacement(self.path) as replacement:
                try_lock(replacement.file)
                with replacement.buffered() as file:
                    write(file)
                if sys.platform == "win32":
                    self.close()  # an open file cannot be replaced there
                replacement.commit()
                new = replacement.detach()
        except OSError as error:
            hint = f"{self.path} is unchanged."
            raise OssctlError(f"cannot write {self.path}: {error.strerror}", hint) from None
        self.close()
        self._file = self._open("r+b") if sys.platform == "win32" else new

    def _open(self, mode: str) -> BinaryIO:
        try:
            file = cast("BinaryIO", self._target.open(mode, buffering=0))
        except FileExistsError:
            raise UsageError(f"{self.path} exists", _EXISTS_HINT) from None
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None
        if not try_lock(file) or not _is_at(file, self.path):
            file.close()
            raise UsageError(f"{self.path} is being written by another program", self.policy.locked_hint)
        return file

    def close(self) -> None:
        """Unlock the file."""
        file, self._file = self._file, None
        if file is None:
            return
        unused = self._created and not os.fstat(file.fileno()).st_size and _is_at(file, self.path)
        file.close()
        if unused:
            self._target.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stdout_journal() -> Journal:
    """Return a journal that writes to stdout. Raises UsageError if stdout is closed."""
    if sys.stdout is None:  # `>&-`
        raise UsageError("standard output is closed", "Use -o FILE.")
    encoder = TerminalEncoder() if sys.stdout.isatty() else PlainEncoder()
    return Journal(lambda: open(1, "wb", buffering=0, closefd=False), "standard output", encoder=encoder)


def check_output_path(path: Path, *, overwrite: bool, exists_hint: str = _EXISTS_HINT) -> None:
    """Raise UsageError if an output at `path` can't be created, or if one exists and `overwrite` is false.

    `exists_hint` says what to do in the latter case.

    Devices and pipes may always be written, because there is nothing to lose.
    """
    target = _target_of(path)
    try:
        is_directory, has_folder = target.is_dir(), target.parent.is_dir()
        exists = path.is_symlink() or path.is_file()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    if is_directory:
        raise UsageError(f"{path} is a directory", "Give the name of a file.")
    if not has_folder:
        folder = target.parent if path.is_symlink() else path.parent
        raise UsageError(f"cannot write {path}: there is no folder {folder}")
    if exists and not overwrite:
        raise UsageError(f"{path} exists", exists_hint)
    if target.is_symlink():  # to itself
        raise UsageError(f"cannot write {path}: {os.strerror(errno.ELOOP)}")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: Permission denied")


def is_regular(path: Path) -> bool:
    """Whether an output at `path` is a regular file, existing or not, and no device or pipe."""
    return path.is_file() or not path.exists()


def _target_of(path: Path) -> Path:
    """The path where `path` leads through symbolic links, the last of which may lead to nothing."""
    return Path(os.path.realpath(path))


def _copy_to_folder(file: BinaryIO, folder: Path, name: str) -> Path:
    """Copy the contents of an open file, with its mode, to a new file: `name`, or `name` with a number."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    names = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    while True:
        with contextlib.suppress(FileExistsError):
            target = create_file(path, stat.S_IMODE(os.fstat(file.fileno()).st_mode))
            break
        path = next(names)
    with target, open(target.fileno(), "wb", closefd=False) as buffered:
        file.seek(0)
        shutil.copyfileobj(file, buffered)
        buffered.flush()
        os.fsync(target.fileno())
    return path


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether `path` names this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
