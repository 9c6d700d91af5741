"""Atomic file writes."""

import contextlib
import os
import secrets
import stat
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO, Self, cast

from ossctl.errors import OssctlError

_NEW_FILE_MODE = 0o666  # less the umask
_RENAME_SECONDS = 1.0  # for other programs to close a file
_RETRY_SECONDS = 0.02


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to a temporary file and rename it to `path`. Raises OssctlError.

    A symbolic link at `path` is followed; a device or a pipe is written to directly.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        with Replacement(path) as replacement:
            replacement.write(data)
            replacement.commit()
    except OSError as error:
        raise OssctlError(f"cannot write {path}: {error.strerror}") from None


class Replacement:
    """A temporary file that takes the place of the file at `path`, and its mode, with `commit`.

    It is in the same folder under a name that can't be guessed, and deleted unless it is committed. Every
    method raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self._target = path.resolve()
        self._part = self._target.with_name(f".{secrets.token_hex(8)}.part")
        self.file = self._create()
        self._detached = False

    def write(self, data: bytes) -> None:
        with self.buffered() as file:
            file.write(data)

    def buffered(self) -> BinaryIO:
        """A buffer for writing to `file`; to be closed, which writes the rest."""
        return open(self.file.fileno(), "wb", closefd=False)

    def commit(self) -> None:
        """Move the file to its path, whole also after a power loss."""
        os.fsync(self.file.fileno())
        if sys.platform == "win32":
            self.file.close()  # an open file cannot be renamed there
        _rename(self._part, self._target)
        _sync_folder(self._target.parent)

    def detach(self) -> BinaryIO:
        """Return the committed file, which stays open; on Windows it is closed."""
        self._detached = True
        return self.file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._detached:
            self.file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _create(self) -> BinaryIO:
        try:
            old = self._target.stat()
        except FileNotFoundError:
            return create_file(self._part, _NEW_FILE_MODE)
        file = create_file(self._part, stat.S_IRUSR | stat.S_IWUSR)
        if sys.platform != "win32":
            with contextlib.suppress(OSError):  # only root can give a file away
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
        return file


def create_file(path: Path, mode: int) -> BinaryIO:
    """Create a file and open it unbuffered. Raises FileExistsError, also for a symbolic link."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, mode)

    return cast("BinaryIO", open(path, "x+b", buffering=0, opener=opener))


def _rename(part: Path, target: Path) -> None:
    """Rename a file. Windows refuses that while another program, such as a virus scanner, has one open."""
    give_up = monotonic() + _RENAME_SECONDS
    while True:
        try:
            part.replace(target)
        except PermissionError:
            if sys.platform != "win32" or monotonic() > give_up:
                raise
            sleep(_RETRY_SECONDS)
        else:
            return


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power loss, where the system allows that."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
