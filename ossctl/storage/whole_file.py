"""Files that are there whole or not at all."""

import os
from pathlib import Path

from ossctl.errors import OssctlError


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one move, in place of what is there. Raises OssctlError.

    A device or a pipe is written to.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        target = path.resolve()  # through a symbolic link, which stays
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            part.write_bytes(data)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OssctlError(f"cannot write {path}: {error.strerror}") from None
