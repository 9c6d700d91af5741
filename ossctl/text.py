"""Text for terminals and people, and the search for markers in streamed text."""

import re
from collections.abc import Iterable
from typing import TextIO

_LONGEST_LINE = 500  # characters
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_RETURN = re.compile(r"\r+(?=\n|\Z)")  # at the end of a piece of text, the newline may be in the next one
_FEED = re.compile(r"[\v\f]")


def harmless(text: str) -> str:
    """Replace every control character except newline and tab, so that `text` cannot control a terminal.

    CRLF becomes a newline, as do form feeds.
    """
    return _CONTROL.sub("\ufffd", _FEED.sub("\n", _RETURN.sub("", text)))


def for_stream(text: str, stream: TextIO) -> str:
    """`text` as it is, or harmless if `stream` is a terminal."""
    return harmless(text) if stream.isatty() else text


def can_encode(stream: TextIO | None, text: str) -> bool:
    """Whether the encoding of `stream` has every character of `text`."""
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def one_line(text: str) -> str:
    """`text` on one line, cut if it is long, for tool calls and their results."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"


def counted(count: int, noun: str) -> str:
    """`1 token`, `1,234 tokens`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """`30 ms`, `0.8 s`, `12 s`, `3 min 20 s`, `2 h 10 min`."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 10:
        return f"{minutes} min {rest} s".removesuffix(" 0 s")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min".removeprefix("0 h ").removesuffix(" 0 min")


def undecided(text: str, markers: Iterable[str]) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of a marker."""
    longest = 0
    for marker in markers:
        for length in range(min(len(marker) - 1, len(text)), longest, -1):
            if marker.startswith(text[-length:]):
                longest = length
                break
    return longest
