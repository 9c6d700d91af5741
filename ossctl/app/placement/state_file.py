"""JSON objects in the state folder. They are hints only: files may be missing, damaged or not writable."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ossctl.errors import OssctlError
from ossctl.storage.atomic import atomic_write


def read_state(path: Path) -> dict[str, Any]:
    """The object in the file; an empty one if it cannot be read."""
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}


def write_state(path: Path, records: Mapping[str, Any]) -> None:
    """Replace the file if possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(records, indent=1).encode())
    except (OSError, OssctlError):
        return
