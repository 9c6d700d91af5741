"""Locks on open files, which the system releases when the process ends."""

import contextlib
import errno
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCKED_BYTE = 1 << 62  # Windows blocks reads of a locked byte: lock one beyond any contents

_TEST_SECONDS = 1.0  # how long to wait for tests of the lock, which take microseconds
_RETRY_SECONDS = 0.005

# Errors of a filesystem without locks, such as some network mounts. Files on it are not protected.
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def try_lock(file: BinaryIO) -> bool:
    """Lock an open file until it is closed. False if it is already locked, by any process.

    `is_locked` of another process holds a lock for an instant, which does not count. Windows does not tell
    them apart.
    """
    give_up = monotonic() + _TEST_SECONDS
    while not _take(file, exclusive=True):
        if monotonic() > give_up or (sys.platform != "win32" and _is_held(file)):
            return False
        sleep(_RETRY_SECONDS)
    return True


def try_share(file: BinaryIO) -> bool:
    """Lock an open file against `try_lock`, beside others that share it. False if it is already locked."""
    return _take(file, exclusive=False)


def is_locked(path: Path) -> bool:
    """Whether any process holds the lock on the file at `path`. Raises OSError if it cannot be opened."""
    with path.open("rb") as file:
        return _is_held(file)


def _is_held(file: BinaryIO) -> bool:
    """Whether the lock on `file` is held, by any process and not through `file` itself."""
    if not _take(file, exclusive=False):
        return True
    _release(file)
    return False


def _take(file: BinaryIO, *, exclusive: bool) -> bool:
    """Take a lock if it is free. Several processes may hold one that is not exclusive, as a test."""
    try:
        if sys.platform == "win32":
            _at_locked_byte(file, msvcrt.LK_NBLCK)
        else:
            fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _UNSUPPORTED
    return True


def _release(file: BinaryIO) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            _at_locked_byte(file, msvcrt.LK_UNLCK)
        else:
            fcntl.flock(file, fcntl.LOCK_UN)


if sys.platform == "win32":

    def _at_locked_byte(file: BinaryIO, operation: int) -> None:
        position = file.tell()
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), operation, 1)
        finally:
            file.seek(position)
