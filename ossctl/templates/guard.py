"""Texts from outside, marked so that they never become control tokens."""

import re
from typing import Any

# Inserted after the first character of every marker in a text; a prompt is split there before tokenizing.
# Unicode reserves this code point for internal use.
_BREAK = "\ufdd0"
_ESCAPED = r"\ufdd0"  # as a template writes it that escapes its JSON as ASCII
_SPLIT = re.compile(f"{_BREAK}|{re.escape(_ESCAPED)}")


class MarkerGuard:
    """Keeps `markers`, the texts of control tokens, out of the texts of messages."""

    def __init__(self, markers: frozenset[str]) -> None:
        markers |= {_ESCAPED}  # in a text from outside, it is no break
        self._marker = _start_of_any(markers)
        self._prefixes = frozenset(marker[:end] for marker in markers for end in range(1, len(marker)))
        self._longest = max(map(len, markers))

    def harmless(self, text: str) -> str:
        """`text` with a break in every marker, including one that starts at its end."""
        text = text.replace(_BREAK, "\ufffd")
        parts, start = [], 0
        for match in self._marker.finditer(text):
            parts.append(text[start : match.start() + 1])
            start = match.start() + 1
        for length in range(min(self._longest, len(text) - start), 0, -1):
            if text[-length:] in self._prefixes:  # the next text may complete it
                parts.append(text[start : len(text) - length + 1])
                start = len(text) - length + 1
                break
        return _BREAK.join([*parts, text[start:]])

    def plain(self, value: Any) -> Any:
        """A JSON value whose strings are harmless."""
        if isinstance(value, str):
            return self.harmless(value)
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        if isinstance(value, dict):
            return {self.harmless(name): self.plain(item) for name, item in value.items()}
        return value


def unbroken(prompt: str) -> list[str]:
    """The parts of a prompt to be tokenized one by one, without the breaks."""
    return _SPLIT.split(prompt)


def _start_of_any(markers: frozenset[str]) -> re.Pattern[str]:
    """Matches the start of a marker without consuming it.

    Checks the first character first, because gpt-oss has 1,090 markers.
    """
    first = "".join(sorted({re.escape(marker[0]) for marker in markers}))
    return re.compile(f"(?=[{first}])(?={'|'.join(map(re.escape, sorted(markers)))})")
