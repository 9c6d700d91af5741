"""Values as models write them: JSON, Python literals, and JSON with bare keys or other quotes."""

import json
import re
from typing import Any

_BLANKS = re.compile(r"\s*")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_WORD = re.compile(r"[A-Za-z_][\w.\-]*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_ENDS_VALUE = re.compile(r"\s*(?:[,:=)\]}]|\Z)")
_PYTHON_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_DECODER = json.JSONDecoder(strict=False)


class NotAValue(ValueError):
    """No value starts here."""


def read_json(text: str, at: int) -> tuple[Any, int]:
    """The JSON value at an index, and the index after it. Raises NotAValue."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        raise NotAValue from None
    return value, end


def read_object(text: str, at: int) -> tuple[Any, int]:
    """As `read_json`; where that fails, Python's spelling is read as well."""
    try:
        return read_json(text, at)
    except NotAValue:
        return read_loose(text, at)


def read_loose(text: str, at: int, quote: str = "") -> tuple[Any, int]:
    """The value at an index, and the index after it. `quote` is a marker around strings. Raises NotAValue."""
    try:
        return _value(text, _skip(text, at), quote)
    except (IndexError, RecursionError):
        raise NotAValue from None


def _value(text: str, at: int, quote: str) -> tuple[Any, int]:
    if quote and text.startswith(quote, at):
        return _quoted(text, at, quote)
    character = text[at]
    if character == "{":
        return _mapping(text, at, quote)
    if character in "[(":
        return _items(text, at, quote)
    if character in "'\"":
        return _string(text, at)
    if match := _NUMBER.match(text, at):
        number = match[0]
        return (float(number) if set(number) & set(".eE") else int(number)), match.end()
    match = _WORD.match(text, at)
    if match is None or match[0] not in _WORDS:
        raise NotAValue
    return _WORDS[match[0]], match.end()


def _quoted(text: str, at: int, quote: str) -> tuple[str, int]:
    start = at + len(quote)
    end = text.find(quote, start)
    if end < 0:
        raise NotAValue
    return text[start:end], end + len(quote)


def _string(text: str, at: int) -> tuple[str, int]:
    match = _PYTHON_STRING.match(text, at)
    if match is None:
        raise NotAValue
    if not _ENDS_VALUE.match(text, match.end()):  # a quote that should have been escaped
        match = re.compile(f"{text[at]}.*?{text[at]}(?=\\s*[,)\\]}}])", re.DOTALL).match(text, at) or match
    try:
        if match[0][0] == '"':
            return str(json.loads(match[0], strict=False)), match.end()
    except ValueError:
        pass
    return _unescaped(match[0][1:-1]), match.end()


def _unescaped(text: str) -> str:
    escapes = {"n": "\n", "t": "\t", "r": "\r", "\n": ""}
    return re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), text, flags=re.DOTALL)


def _mapping(text: str, at: int, quote: str) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _key(text, at, quote)
        at = _skip(text, at)
        if text[at] != ":":
            raise NotAValue
        found[key], at = _value(text, _skip(text, at + 1), quote)
        at = _next(text, at, "}")
    return found, at + 1


def _key(text: str, at: int, quote: str) -> tuple[str, int]:
    if quote and text.startswith(quote, at):
        return _quoted(text, at, quote)
    if text[at] in "'\"":
        return _string(text, at)
    match = _WORD.match(text, at)
    if match is None:
        raise NotAValue
    return match[0], match.end()


def _items(text: str, at: int, quote: str) -> tuple[list[Any], int]:
    close = {"[": "]", "(": ")"}[text[at]]
    found = []
    at = _skip(text, at + 1)
    while text[at] != close:
        item, at = _value(text, at, quote)
        found.append(item)
        at = _next(text, at, close)
    return found, at + 1


def read_arguments(text: str, at: int) -> tuple[dict[str, Any], int]:
    """The keyword arguments of a Python call whose parenthesis is at an index. Raises NotAValue."""
    found: dict[str, Any] = {}
    try:
        at = _skip(text, at + 1)
        while text[at] != ")":
            key, at = _key(text, at, "")
            at = _skip(text, at)
            if text[at] not in "=:":
                raise NotAValue
            found[key], at = _value(text, _skip(text, at + 1), "")
            at = _next(text, at, ")")
    except (IndexError, RecursionError):
        raise NotAValue from None
    return found, at + 1


def _next(text: str, at: int, close: str) -> int:
    """The index of the next item or of `close`."""
    at = _skip(text, at)
    if text[at] == ",":
        return _skip(text, at + 1)
    if text[at] != close:
        raise NotAValue
    return at


def _skip(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at
