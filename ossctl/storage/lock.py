"""Locks on open files, which the system releases when the process ends."""

import errno
import sys
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCKED_BYTE = 1 << 62  # Windows blocks reads of a locked byte: lock one beyond any contents

# Errors of a filesystem without locks, such as some network mounts. Files on it are not protected.
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def try_lock(file: BinaryIO) -> bool:
    """Lock an open file until it is closed. False if it is already locked, by any process."""
    try:
        if sys.platform == "win32":
            position = file.tell()
            file.seek(_LOCKED_BYTE)
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            finally:
                file.seek(position)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _UNSUPPORTED
    return True


def is_locked(path: Path) -> bool:
    """Whether any process holds the lock on the file at `path`. Raises OSError if it cannot be opened."""
    with path.open("rb") as file:
        return not try_lock(file)
