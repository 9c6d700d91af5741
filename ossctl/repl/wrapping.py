"""Wraps lines for a terminal between words."""

import re
from collections.abc import Iterator

from prompt_toolkit.utils import get_cwidth

_LAST_COLUMN = re.compile(r".*\S {2,}(?=\S)| *")  # its start, in a table row or an indented line
_WORD = re.compile(r"\s*\S+")


def wrapped(text: str, columns: int) -> str:
    """Wrap `text` to lines of at most `columns` cells. The last column of a table row stays aligned.

    Longer words, such as a line of Japanese, are left for the terminal to wrap.
    """
    return "\n".join(part for line in text.split("\n") for part in _parts(line, columns))


def _parts(line: str, columns: int) -> Iterator[str]:
    if get_cwidth(line) <= columns:
        yield line
        return
    found = _LAST_COLUMN.match(line)
    column = get_cwidth(found[0]) if found else 0
    margin = " " * (column if column <= columns // 2 else 2)
    part = ""
    for word in _WORD.findall(line):
        if part.strip() and get_cwidth(part + word) > columns:
            yield part
            part = margin + word.lstrip()
        else:
            part += word
    yield part
