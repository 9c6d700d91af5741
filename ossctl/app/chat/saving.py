"""Writing an export where nothing else is."""

from pathlib import Path

from ossctl.errors import UsageError
from ossctl.storage.whole_file import write_whole


def save_new(path: Path, text: str) -> None:
    """Put `text` at `path`. Raises UsageError if something is there, OssctlError if it can't be written."""
    if path.exists() and (path.is_file() or path.is_dir()):
        raise UsageError(f"{path} exists", "Choose another name.")
    write_whole(path, text.encode("utf-8", "replace"))
