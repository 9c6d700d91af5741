"""Text that comes in pieces, and text that comes from outside."""

import re
from collections.abc import Iterable

# What would move a terminal's cursor, colour it or worse; models repeat what they are given.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """`text` as a terminal may show it: no control character but newline and tab."""
    return _CONTROL.sub("\ufffd", text)


def undecided(text: str, markers: Iterable[str]) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of a marker."""
    longest = 0
    for marker in markers:
        for length in range(min(len(marker) - 1, len(text)), longest, -1):
            if marker.startswith(text[-length:]):
                longest = length
                break
    return longest
