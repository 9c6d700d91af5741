"""Whether two files are one."""

import os
import stat
from pathlib import Path


def is_same_file(a: Path | int, b: Path | int) -> bool:
    """Whether two paths or file descriptors are the same regular file, which need not exist yet.

    A terminal can be input and output.
    """
    try:
        stat_a, stat_b = (os.fstat(file) if isinstance(file, int) else file.stat() for file in (a, b))
    except OSError:
        return isinstance(a, Path) and isinstance(b, Path) and os.path.realpath(a) == os.path.realpath(b)
    return stat.S_ISREG(stat_a.st_mode) and os.path.samestat(stat_a, stat_b)
