"""Lines for a terminal, broken between words and not inside of them."""

import re
from collections.abc import Iterator

from prompt_toolkit.utils import get_cwidth

_LAST_COLUMN = re.compile(r".*\S {2,}(?=\S)| *")  # of a line that is a row of a table, or indented
_WORD = re.compile(r"\s*\S+")


def wrapped(text: str, columns: int) -> str:
    """`text` with lines of at most `columns` cells; what belongs to a row's last column stays in it.

    A word that is longer, as a line of Japanese is, is left for the terminal to break.
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
