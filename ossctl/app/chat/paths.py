"""Paths that a user types. None of these functions raises, whatever the path is."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # surrogates: bytes that are not UTF-8

Kind = Literal["file", "folder", "other", "missing"]


def user_path(text: str) -> Path:
    """The path with `~` and `~user` replaced by home folders. An unknown user's stays as it is."""
    path = Path(text)
    try:
        return path.expanduser()
    except (RuntimeError, ValueError, OSError):
        return path


def kind_of(path: Path) -> Kind:
    """What is at `path`. "missing" also if it cannot be looked at, or no file can have this name."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return "missing"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"


def is_dangling(path: Path) -> bool:
    """Whether `path` is a symbolic link to nothing."""
    try:
        return path.is_symlink() and not path.exists()
    except (OSError, ValueError):
        return False


def names_in(folder: Path) -> Iterator[tuple[str, bool]]:
    """The names in a folder that can be typed, and whether each is that of a folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _CONTROL.search(entry.name) is None:
                    yield entry.name, _is_folder(entry)
    except (OSError, ValueError):
        return


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
