"""Text files attached to a message, with `/file PATH` or as `@path` in the message."""

import re
from collections.abc import Sequence
from pathlib import Path

from ossctl.app.user_text import Attached, prompt_of, read_text
from ossctl.errors import UsageError

_MENTION = re.compile(r"(?<!\S)@(?:\"(?P<quoted>[^\"\n]+)\"|(?P<plain>[^\s\"]+))")
_PUNCTUATION = ".,;:!?)]}'"  # that may follow a path in a sentence
_MAX_BYTES_PER_TOKEN = 16  # of text; a larger file cannot fit into the context


def read_attachment(path: Path, n_ctx: int) -> Attached:
    """Read a text file. Raises UsageError if it is not one, or is too large for `n_ctx` tokens."""
    path = expand_home(path)
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
    if size > n_ctx * _MAX_BYTES_PER_TOKEN:
        raise UsageError(
            f"cannot attach {path}: {size / 1e6:,.1f} MB is too large; the context of {n_ctx:,} tokens holds "
            f"about {n_ctx * 4 / 1e6:,.2f} MB of text",
            "Attach the part that matters.",
        )
    text = read_text(path)
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


def expand_home(path: Path) -> Path:
    """`path` with `~` and `~user` replaced by home folders. An unknown user's stays as it is."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def with_attachments(text: str, attached: Sequence[Attached]) -> str:
    """The message, followed by each file in a fenced block."""
    return prompt_of([text], None, attached) if attached else text


def _file(name: str) -> Path | None:
    """The file called `name`, with or without the punctuation at its end."""
    for candidate in (name, name.rstrip(_PUNCTUATION)):
        path = expand_home(Path(candidate))
        try:
            if candidate and path.is_file():
                return path
        except (OSError, ValueError):
            return None
    return None
