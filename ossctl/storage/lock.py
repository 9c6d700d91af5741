"""Locks on files, held by the system for the process: however that ends, they are gone with it."""

import errno
import sys
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FAR_AWAY = 1 << 62  # Windows locks bytes, against reading too; nobody reads this one

# What a filesystem says that has no locks, as some on a network do; then a file can't be protected.
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def try_lock(file: BinaryIO) -> bool:
    """Lock an open file until it is closed; False if another process, or another opening, has done so."""
    try:
        if sys.platform == "win32":
            place = file.tell()
            file.seek(_FAR_AWAY)
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            finally:
                file.seek(place)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _UNSUPPORTED
    return True


def is_locked(path: Path) -> bool:
    """Whether a process has locked the file now. Raises OSError if it cannot be opened."""
    with path.open("rb") as file:
        return not try_lock(file)
