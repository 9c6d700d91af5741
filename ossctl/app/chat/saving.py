"""Writing an export where nothing else is."""

from pathlib import Path

from ossctl.errors import UsageError
from ossctl.storage.atomic import atomic_write


def save_new(path: Path, text: str) -> None:
    """Put `text` at `path`. Raises UsageError if something is there, OssctlError if it can't be written."""
    if path.exists() and (path.is_file() or path.is_dir()):
        raise UsageError(f"{path} exists", "Choose another name.")
    atomic_write(path, text.encode("utf-8", "replace"))
