"""Prompts from the command line, stdin and files, and files for answers."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ossctl.errors import UsageError
from ossctl.storage.same_file import is_same_file

EMPTY_PATH = "the path is empty"  # as that in a variable of the shell which is not set
_STDOUT = 1
_BYTE_ORDER_MARK = "\ufeff"
_LONG = 2_000  # characters, about 500 tokens: computing fewer again takes no time worth saving
_MAX_BYTES = 16 * 1024 * 1024  # far beyond any context window: 1,000,000 tokens of English are some 4 MB

# A fenced code block of Markdown. The closing fence is at least as long as the opening one, and missing if
# the answer was cut off.
_CODE_BLOCK = re.compile(
    r"^ {0,3}(?P<fence>(?P<mark>[`~])(?P=mark){2,})(?!(?<=`)[^\n]*`)[^\n]*\n"
    r"(?P<code>.*?)(?:^ {0,3}(?P=fence)(?P=mark)*[ \t\r]*$|\Z)",
    re.DOTALL | re.MULTILINE,
)


def output_file(path: Path | None) -> Path | None:
    """The file of an option `-o`, or None if it is stdout, also under its name on Unix."""
    return None if path is None or str(path) in ("-", "/dev/stdout") else path


def refuse_stdout(path: Path, option: str) -> None:
    """Raise UsageError if a file that would be replaced is the one stdout goes to, or is called `-`."""
    if str(path) == "-" or is_same_file(path, _STDOUT):
        raise UsageError(f"{option} {path} is standard output", "Give a file of its own.")


@dataclass(frozen=True)
class Attached:
    """A text attached to a prompt; `name` is that of its file, or "" for stdin."""

    name: str
    text: str


def prompt_of(words: Sequence[str], piped: str | None, files: Sequence[Attached] = ()) -> str:
    """Join the words and append each text in a fence of its own. Piped text alone is the prompt as it is.

    Long texts come before the words, so that another question about them has the same prefix. Raises
    UsageError if there is neither text nor words.
    """
    question = encodable(" ".join(words)).strip()
    texts = [*files, Attached("", piped)] if piped and piped.strip() else [*files]
    if piped and texts and not question and not files:
        return piped
    if not question and not texts:
        raise UsageError("there is no prompt", 'Give one, as in ossctl run "…", or pipe in text.')
    fences = [*map(fenced, texts)]
    if sum(map(len, fences)) >= _LONG:
        return "\n\n".join([*fences, *filter(None, [question])])
    return "\n\n".join([*filter(None, [question]), *fences])


def first_code_block(answer: str) -> str | None:
    """The contents of the first fenced code block, which the end of the answer may cut off.

    Returns None if there is none.
    """
    found = _CODE_BLOCK.search(answer)
    return found["code"] if found else None


def read_text(path: Path, *, is_prompt: bool = False) -> str:
    """Read a UTF-8 file. Raises UsageError if it can't be read, is not text or too long for any model."""
    try:
        with path.open("rb") as file:
            data = _read(file, str(path), is_prompt=is_prompt)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:  # a zero byte, or half a surrogate pair
        raise UsageError(f"cannot read {path}: no file can have this name") from None
    return decoded(data, str(path))


def text_of(given: str) -> str:
    """The value of a TEXT|@FILE option: the text itself or that of the file. Raises UsageError."""
    if not given.startswith("@"):
        return encodable(given)
    if given == "@":
        raise UsageError(f"@: {EMPTY_PATH}")
    return read_text(Path(given[1:]), is_prompt=True).strip()


def check_stdin() -> None:
    """Raise UsageError if stdin is closed or cannot be read: a start that needs it would be in vain."""
    if sys.stdin is None:  # `<&-`; another file may be number 0 then
        raise UsageError("standard input is closed", "Pipe something in, or give a file.")
    try:
        os.read(0, 0)
    except OSError as error:
        raise UsageError(f"cannot read standard input: {error.strerror}") from None


def read_piped() -> str | None:
    """Read all of stdin; None if it is a terminal or closed. Raises UsageError as `read_text` does."""
    if sys.stdin is None or sys.stdin.isatty():
        return None
    check_stdin()
    return decoded(_read(sys.stdin.buffer, "standard input", is_prompt=True), "standard input")


def _read(file: BinaryIO, name: str, *, is_prompt: bool) -> bytes:
    data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        message = f"cannot read {name}: it has more than {_MAX_BYTES // 1024**2} MiB"
        if is_prompt:
            message += ", which no context window holds"
        raise UsageError(message, "`ossctl batch` answers a file request by request." if is_prompt else "")
    return data


def encodable(text: str) -> str:
    """Replace lone surrogates, which stand for bytes that are not UTF-8 and which no encoding has."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


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


def fenced(attached: Attached) -> str:
    """The text in a fence that is longer than any in it, below its name."""
    longest = max(map(len, re.findall("`+", attached.text)), default=0)
    fence = "`" * max(3, longest + 1)
    title = f"{encodable(attached.name)}:\n" if attached.name else ""
    text = attached.text.rstrip("\r\n")
    return f"{title}{fence}\n{text}\n{fence}"
