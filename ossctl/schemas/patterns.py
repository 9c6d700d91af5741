"""Regular expressions of JSON schemas, which are JavaScript's, for grammars and for the validator."""

import re
from collections.abc import Iterator

import regex

# The parts of a pattern that matter here; classes are single parts.
_PART = re.compile(
    r"\\c[A-Za-z]|\\k<\w+>|\\[1-9]\d*|\\[\s\S]"  # escapes
    r"|\[\^?\]|\[(?:\\[\s\S]|[^\]\\])*\]"  # classes; [] is empty and [^] is any character
    r"|\(\?<?[=!]|[\s\S]"
)
_QUANTIFIER = re.compile(r"(?:[*+?]|\{\d+(?:,\d*)?\})\??")
_LOOKAROUNDS = ("(?=", "(?!", "(?<=", "(?<!")
_ANY = r"[\s\S]"
_IN_CLASS = re.compile(r"\\c[A-Za-z]|\\[\s\S]|\[|&&|--|~~")


def held_pattern(pattern: str) -> tuple[str, bool]:
    """`pattern` as a grammar can hold it, and whether it means the same.

    Lookaround and word boundaries are left out, and a back-reference may be any text: the result matches
    whatever `pattern` matches.
    """
    parts = list(_without_lookaround(pattern))
    exact = "".join(parts) == pattern
    held: list[str] = []
    for part in parts:
        if part in (r"\b", r"\B"):
            exact = False
        elif part[:2] == r"\k" or re.fullmatch(r"\\[1-9]\d*", part):
            held.append(f"{_ANY}*")
            exact = False
        else:
            held.append(_common(part))
    return "".join(held), exact


def checked_pattern(pattern: str) -> str:
    """`pattern` in the syntax of the `regex` module."""
    return "".join(_common(part) for part in _PART.findall(pattern))


def is_checkable(pattern: str) -> bool:
    """Whether the `regex` module understands `pattern`."""
    try:
        regex.compile(checked_pattern(pattern))
    except regex.error:
        return False
    return True


def _without_lookaround(pattern: str) -> Iterator[str]:
    """The parts of `pattern` that consume text."""
    parts, position = _PART.findall(pattern), 0
    while position < len(parts):
        if parts[position] not in _LOOKAROUNDS:
            yield parts[position]
            position += 1
            continue
        depth = 1
        while depth and position + 1 < len(parts):
            position += 1
            depth += parts[position][0] == "("
            depth -= parts[position] == ")"
        position += 1
        if quantifier := _QUANTIFIER.match("".join(parts[position : position + 12])):
            position += len(quantifier[0])


def _common(part: str) -> str:
    """A part in a syntax that Rust's and Python's expressions share."""
    if part == "[]":
        return r"[^\s\S]"
    if part == "[^]":
        return _ANY
    if part[:2] == r"\c" and len(part) == 3:
        return f"\\x{ord(part[2]) % 32:02x}"
    if part[0] == "[" and len(part) > 1:
        return "[" + _IN_CLASS.sub(lambda match: _class_part(match[0]), part[1:-1]) + "]"
    return part


def _class_part(part: str) -> str:
    """A part of a class; characters that mean something to others only are escaped."""
    if part == r"\b":
        return r"\x08"
    if part[:2] == r"\c" and len(part) == 3:
        return _common(part)
    if part == "[":
        return r"\["
    return "".join(f"\\{character}" for character in part) if part in ("&&", "--", "~~") else part
