"""What a user types, pipes and attaches, as one prompt."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ossctl.errors import UsageError

_BYTE_ORDER_MARK = "\ufeff"

# A block of Markdown's: it ends with at least as many backticks as it began with.
_CODE_BLOCK = re.compile(r"^ {0,3}(`{3,})[^`\n]*\n(.*?)^ {0,3}\1`*[ \t]*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Attached:
    """A text that the prompt is about; `name` is "" for what was piped in."""

    name: str
    text: str


def prompt_of(words: Sequence[str], piped: str | None, files: Sequence[Attached] = ()) -> str:
    """The words, then each text in a fence of its own; a piped text alone is the prompt itself.

    Raises UsageError if there is nothing to ask.
    """
    asked = " ".join(words).strip()
    texts = [*files] if piped is None or not piped.strip() else [*files, Attached("", piped)]
    if not asked and len(texts) == 1 and texts[0].name == "":
        return texts[0].text
    if not asked and not texts:
        raise UsageError("there is nothing to ask", 'Give a prompt, ossctl run "…", or pipe a text in.')
    return "\n\n".join([*filter(None, [asked]), *map(_fenced, texts)])


def first_code_block(answer: str) -> str | None:
    """What stands in the first fence of Markdown, with its last newline; None without one."""
    found = _CODE_BLOCK.search(answer)
    return found[2] if found else None


def read_text(path: Path) -> str:
    """The text of a file. Raises UsageError if it can't be read or is no text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return decoded(data, str(path))


def text_of(given: str) -> str:
    """TEXT as it stands, or the text of the file in @FILE. Raises UsageError."""
    return read_text(Path(given[1:])).strip() if given.startswith("@") else given


def read_piped() -> str | None:
    """All of standard input as text; None from a terminal or without one. Raises UsageError."""
    if sys.stdin is None or sys.stdin.isatty():
        return None
    return decoded(sys.stdin.buffer.read(), "standard input")


def decoded(data: bytes, name: str) -> str:
    """UTF-8 text of `data`. Raises UsageError for anything else."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start:,}"
        raise UsageError(
            f"cannot read {name}: it is not UTF-8 text, {byte}", "Convert it first, for example with iconv."
        ) from None
    if "\0" in text:
        raise UsageError(f"cannot read {name}: it is binary, with a zero byte at offset {data.index(0):,}")
    return text.removeprefix(_BYTE_ORDER_MARK)


def _fenced(attached: Attached) -> str:
    runs = [len(run) for run in re.findall("`+", attached.text)]
    fence = "`" * max(3, max(runs, default=0) + 1)
    title = f"{attached.name}:\n" if attached.name else ""
    text = attached.text.rstrip("\r\n")
    return f"{title}{fence}\n{text}\n{fence}"
