"""Prompts from the command line, stdin and files."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ossctl.errors import UsageError

_BYTE_ORDER_MARK = "\ufeff"

# A fenced code block of Markdown. The closing fence has at least as many backticks as the opening one.
_CODE_BLOCK = re.compile(r"^ {0,3}(`{3,})[^`\n]*\n(.*?)^ {0,3}\1`*[ \t]*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Attached:
    """A text attached to a prompt; `name` is that of its file, or "" for stdin."""

    name: str
    text: str


def prompt_of(words: Sequence[str], piped: str | None, files: Sequence[Attached] = ()) -> str:
    """Join the words and append each text in a fence of its own. Piped text alone is the prompt as it is.

    Raises UsageError if there is neither.
    """
    question = " ".join(words).strip()
    texts = [*files, Attached("", piped)] if piped and piped.strip() else [*files]
    if piped and texts and not question and not files:
        return piped
    if not question and not texts:
        raise UsageError("there is no prompt", 'Give one, as in ossctl run "…", or pipe in a text.')
    return "\n\n".join([*filter(None, [question]), *map(_fenced, texts)])


def first_code_block(answer: str) -> str | None:
    """The contents of the first fenced code block, with the final newline; None if there is none."""
    found = _CODE_BLOCK.search(answer)
    return found[2] if found else None


def read_text(path: Path) -> str:
    """Read a UTF-8 file. Raises UsageError if it can't be read or is not text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:  # a zero byte, or half a surrogate pair
        raise UsageError(f"cannot read {path}: no file can have this name") from None
    return decoded(data, str(path))


def text_of(given: str) -> str:
    """The value of a TEXT|@FILE option: the text itself or that of the file. Raises UsageError."""
    return read_text(Path(given[1:])).strip() if given.startswith("@") else given


def read_piped() -> str | None:
    """Read all of stdin; None if it is a terminal or closed. Raises UsageError."""
    if sys.stdin is None or sys.stdin.isatty():
        return None
    return decoded(sys.stdin.buffer.read(), "standard input")


def decoded(data: bytes, name: str) -> str:
    """Decode UTF-8 text. Raises UsageError, with `name`, for anything else."""
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
    longest = max(map(len, re.findall("`+", attached.text)), default=0)
    fence = "`" * max(3, longest + 1)
    title = f"{attached.name}:\n" if attached.name else ""
    text = attached.text.rstrip("\r\n")
    return f"{title}{fence}\n{text}\n{fence}"
