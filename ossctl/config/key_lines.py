"""Finds the lines of keys in TOML, which `tomllib` does not report."""

import re
import tomllib
from collections.abc import Iterator

Key = tuple[str, ...]

_PIECE = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{},=.\n]"
    r"|[^\s\"'\#\[\]{},=.]+",
    re.DOTALL,
)


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, of each table's header and each key of valid TOML.

    Keys of inline tables are not listed: they are on their table's line.
    """
    lines: dict[Key, int] = {}
    table: Key = ()
    for line, pieces in _statements(text):
        if pieces[0] == "[":
            table = _key([piece for piece in pieces if piece not in "[]"])
            lines.setdefault(table, line)
        else:
            lines.setdefault((*table, *_key(pieces[: pieces.index("=")])), line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """The pieces of each header or `key = value`, with its line."""
    pieces: list[str] = []
    depth, line, start, position = 0, 1, 1, 0
    for found in _PIECE.finditer(text):
        line += text.count("\n", position, found.start())
        position, piece = found.start(), found[0]
        if piece == "\n" and depth == 0:
            if pieces:
                yield start, pieces
            pieces = []
        elif piece != "\n" and not piece.startswith("#"):
            start = start if pieces else line
            pieces.append(piece)
            depth += (piece in "[{") - (piece in "]}")
    if pieces:
        yield start, pieces


def _key(pieces: list[str]) -> Key:
    return tuple(
        str(tomllib.loads(f"key = {piece}")["key"]) if piece[0] in "\"'" else piece
        for piece in pieces
        if piece != "."
    )
