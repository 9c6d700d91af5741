"""Text that comes in pieces."""

from collections.abc import Iterable


def undecided(text: str, markers: Iterable[str]) -> int:
    """Length of the longest end of `text` that is the beginning of a marker, but not yet all of it."""
    longest = 0
    for marker in markers:
        for length in range(min(len(marker) - 1, len(text)), longest, -1):
            if marker.startswith(text[-length:]):
                longest = length
                break
    return longest
