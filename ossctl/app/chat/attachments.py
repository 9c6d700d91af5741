"""Text files that go with a message: `/file PATH`, and `@path` in the message itself."""

import re
from collections.abc import Sequence
from pathlib import Path

from ossctl.app.user_text import Attached, prompt_of, read_text
from ossctl.errors import UsageError

_PATH = re.compile(r"(?<!\S)@(?:\"(?P<quoted>[^\"\n]+)\"|(?P<plain>[^\s\"]+))")
_AFTER_A_PATH = ".,;:!?)]}'"
_BYTES_A_TOKEN = 16  # at the most, in text that is worth reading: no file of more can fit


def read_attachment(path: Path, n_ctx: int) -> Attached:
    """The text of a file. Raises UsageError if it is none, or cannot fit into `n_ctx` tokens."""
    path = path.expanduser()
    try:
        if path.is_dir():
            raise UsageError(f"cannot attach {path}: it is a folder", "Attach files one by one.")
        if not path.exists():
            raise UsageError(f"there is no file {path}")
        if not path.is_file():
            raise UsageError(f"cannot attach {path}: it is a device or a pipe")
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if size > n_ctx * _BYTES_A_TOKEN:
        raise UsageError(
            f"cannot attach {path}: it is too large, {size / 1e6:,.1f} MB; the context of {n_ctx:,} tokens "
            f"holds about {n_ctx * 4 / 1e6:,.2f} MB of text",
            "Attach the part that matters.",
        )
    text = read_text(path)
    if not text.strip():
        raise UsageError(f"cannot attach {path}: it is empty")
    return Attached(str(path), text)


def mentioned(text: str) -> list[Path]:
    """The files that a message names as `@path` or `@"path"`, and does not contain already, as one that is
    edited does; what is no file is just text."""
    found = (_file(match["quoted"] or match["plain"]) for match in _PATH.finditer(text))
    paths = dict.fromkeys(path for path in found if path is not None)
    return [path for path in paths if f"\n\n{path}:\n```" not in text]


def not_mentioned(text: str) -> list[str]:
    """What looks like an `@path` and is no file."""
    names = (match["quoted"] or match["plain"] for match in _PATH.finditer(text))
    return [name for name in names if _file(name) is None and ("/" in name or Path(name).suffix)]


def with_attachments(text: str, attached: Sequence[Attached]) -> str:
    """The message, then each file in a fence of its own."""
    return prompt_of([text], None, attached) if attached else text


def _file(name: str) -> Path | None:
    """The file of that name, perhaps with the end of a sentence behind it."""
    for candidate in (name, name.rstrip(_AFTER_A_PATH)):
        path = Path(candidate).expanduser()
        try:
            if candidate and path.is_file():
                return path
        except (OSError, ValueError):
            return None
    return None
