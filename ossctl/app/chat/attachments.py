"""Text files attached to a message, with `/file PATH` or as `@path` in the message."""

import re
from collections.abc import Sequence
from pathlib import Path

from ossctl.app.chat.paths import kind_of, user_path
from ossctl.app.user_text import Attached, fenced, read_text
from ossctl.errors import UsageError

_MENTION = re.compile(r"(?<!\S)@(?:\"(?P<quoted>[^\"\n]+)\"|(?P<plain>[^\s\"]+))")
_PUNCTUATION = ".,;:!?)]}'"  # that may follow a path in a sentence
_MAX_BYTES_PER_TOKEN = 16  # of text; a larger file cannot fit into the context


def read_attachment(path: Path, n_ctx: int) -> Attached:
    """Read a text file. Raises UsageError if it is not one, or is too large for `n_ctx` tokens."""
    match kind_of(path):
        case "folder":
            raise UsageError(f"cannot attach {path}: it is a folder", "Attach files one by one.")
        case "missing":
            raise UsageError(f"there is no file {path}")
        case "other":
            raise UsageError(f"cannot attach {path}: it is a device or a pipe")
        case "file":
            size = _size(path)
    if size > n_ctx * _MAX_BYTES_PER_TOKEN:
        raise UsageError(
            f"cannot attach {path}: {size / 1e6:,.1f} MB is too large; the context of {n_ctx:,} tokens holds "
            f"about {n_ctx * 4 / 1e6:,.2f} MB of text",
            "Attach the part that matters.",
        )
    text = read_text(path, is_prompt=True)
    if not text.strip():
        raise UsageError(f"cannot attach {path}: it is empty")
    return Attached(str(path), text)


def mentioned_files(text: str) -> list[Path]:
    """Files mentioned as `@path` or `@"path"`, except those whose text is in the message already.

    That is so when a sent message is edited. Mentions of anything but a file are plain text.
    """
    found = (_file(match["quoted"] or match["plain"]) for match in _MENTION.finditer(text))
    paths = dict.fromkeys(path for path in found if path is not None)
    return [path for path in paths if f"\n\n{path}:\n```" not in text]


def missing_files(text: str) -> list[str]:
    """Mentions that look like a path but do not name a file."""
    names = (match["quoted"] or match["plain"] for match in _MENTION.finditer(text))
    return [name for name in names if _file(name) is None and ("/" in name or Path(name).suffix)]


def with_attachments(text: str, attached: Sequence[Attached]) -> str:
    """The message, followed by each file in a fenced block."""
    return "\n\n".join(filter(None, [text.strip() if attached else text, *map(fenced, attached)]))


def _file(name: str) -> Path | None:
    """The file called `name`, with or without the punctuation at its end."""
    paths = [user_path(each) for each in (name, name.rstrip(_PUNCTUATION)) if each]
    return next((path for path in paths if kind_of(path) == "file"), None)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
