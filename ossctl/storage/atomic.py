"""Atomic file writes."""

import os
from pathlib import Path

from ossctl.errors import OssctlError


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to a temporary file and rename it to `path`. Raises OssctlError.

    A symbolic link is followed; a device or a pipe is written to directly.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        target = path.resolve()
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            part.write_bytes(data)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OssctlError(f"cannot write {path}: {error.strerror}") from None
