"""Deriving formats whose arguments are not one JSON object: tagged one by one, dialects, Python calls."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ossctl.templates.call_probe import (
    KEY_A,
    KEY_B,
    KEY_C,
    ONE,
    OTHER,
    Calls,
    head_of,
    surroundings,
    without_end,
)
from ossctl.templates.chat_rules import declared
from ossctl.templates.markers import shared_end, shared_start
from ossctl.templates.probe import FIRST, SECOND, TEXT
from ossctl.templates.template_format import KEY, CallFormat, Tagged

_PROBES: tuple[tuple[str, Any], ...] = (
    ("integer", 70071),
    ("number", 7.25),
    ("boolean", True),
    ("null", None),
    ("object", {"zqin": 7}),
    ("array", [7, 8]),
)
_AWKWARD = "zq<a & b>"


class _Outer(NamedTuple):
    """What is before the first name, between the last value of one call and the next name, and after."""

    before: str
    between: str | None
    after: str


@dataclass(frozen=True)
class _Split:
    """One rendered call, cut at its name, keys and values."""

    before: str  # the name
    first_key: str  # what is between name and first key
    middle: str
    between: str  # a value and the next key
    after: str


def tagged_formats(calls: Calls, one: str, two: str | None, beside: str | None) -> Iterator[CallFormat]:
    """Candidates, the most likely first."""
    split = _split(one)
    if split is None:
        return
    outer = _outer(calls, one, two, beside)
    if split.first_key.endswith("(") and split.middle.startswith("="):
        yield _bracketed("python", split, outer)
    elif split.first_key.endswith("{") and split.middle.startswith(":"):
        yield _bracketed("dialect", split, outer)
    else:
        yield from _tagged(calls, split, outer)


def _split(text: str) -> _Split | None:
    at = text.find(KEY_A)
    name = text.rfind(FIRST, 0, at)
    places = [text.find(part, at) for part in (KEY_A, ONE[KEY_A], KEY_B, ONE[KEY_B])]
    if name < 0 or -1 in places or sorted(places) != places:
        return None
    key, value, next_key, last = places
    return _Split(
        text[:name],
        text[name + len(FIRST) : key],
        text[key + len(KEY_A) : value],
        text[value + len(ONE[KEY_A]) : next_key].replace(KEY_A, KEY),
        text[last + len(ONE[KEY_B]) :].replace(KEY_B, KEY),
    )


def _outer(calls: Calls, one: str, two: str | None, beside: str | None) -> _Outer:
    variables = declared(calls.rules, ())
    before = beside[beside.find(TEXT) + len(TEXT) :] if beside else None
    head = head_of(_before_name(one, KEY_A), _before_name(before, KEY_A) if before else None)
    last = ONE[KEY_B]
    if two is None:
        tail = one[one.find(last) + len(last) :].replace(KEY_B, KEY)
        return _Outer(head, None, without_end(tail, calls.probe, variables, one[: one.find(last)]))
    end = two.find(last) + len(last)
    rest, final = two[end:], OTHER[KEY_C]
    tail = rest[rest.find(final) + len(final) :].replace(KEY_C, KEY)
    mid = _before_name(rest.replace(KEY_B, KEY), KEY_C, SECOND)
    return _Outer(head, mid, without_end(tail, calls.probe, variables, mid))


def _before_name(text: str, key: str, name: str = FIRST) -> str:
    return text[: text.rfind(name, 0, text.find(key))]


def _bracketed(kind: Literal["python", "dialect"], split: _Split, outer: _Outer) -> CallFormat:
    opening = split.first_key[:-1]
    quote = split.middle[1:].strip()
    mid = None if outer.between is None else _after_body(outer.between, quote) + FIRST + opening
    around = surroundings(outer.before + FIRST + opening, mid, _after_body(outer.after, quote))
    start = around.call_start + ("(" if kind == "python" else "")
    return CallFormat(
        kind, around.section_start, start, around.call_end, around.separator, around.section_end, quote=quote
    )


def _after_body(text: str, quote: str) -> str:
    return text.removeprefix(quote).lstrip()[1:]


def _tagged(calls: Calls, split: _Split, outer: _Outer) -> Iterator[CallFormat]:
    empty = calls.turn((FIRST, {})) or ""
    bare = empty[empty.rfind(FIRST) + len(FIRST) :] if FIRST in empty else ""
    value_end = shared_start([split.between, split.after + " "])
    for name_end in _name_ends(split, bare):
        key_start = split.first_key[len(name_end) :]
        if not key_start.strip() or not value_end.strip():
            continue
        rest = split.between[len(value_end) :]
        separator = rest.removesuffix(key_start)
        mid = None if outer.between is None else outer.between[len(value_end) :] + FIRST + name_end
        around = surroundings(outer.before + FIRST + name_end, mid, outer.after[len(value_end) :])
        middles, wrappers = _values(calls, split.middle, value_end)
        yield CallFormat(
            "tagged",
            around.section_start,
            around.call_start,
            around.call_end,
            around.separator,
            around.section_end,
            tagged=Tagged(key_start, middles, value_end, separator, wrappers),
        )


def _name_ends(split: _Split, bare: str) -> Iterator[str]:
    """What ends a name and is not part of the first key's marker."""
    if bare:
        yield shared_start([split.first_key + KEY, bare])[: len(split.first_key)]
    key_start = shared_end([split.first_key, split.between])
    yield split.first_key[: len(split.first_key) - len(key_start)]


def _values(
    calls: Calls, middle: str, value_end: str
) -> tuple[tuple[tuple[str, frozenset[str]], ...], tuple[tuple[str, str], ...]]:
    """What may come between key and value, by type, and what may surround a value."""
    middles = {middle: {"string"}}
    for kind, value in _PROBES:
        found = _middle(calls.turn((FIRST, {KEY_A: value})) or "", value, middle, value_end)
        if found is not None:
            middles.setdefault(found, set()).add(kind)
    text = calls.turn((FIRST, {KEY_A: _AWKWARD})) or ""
    inside = text.partition(KEY_A + middle)[2].partition(value_end.replace(KEY, KEY_A))[0]
    before, found_text, after = inside.partition(_AWKWARD)
    wrappers = ((before, after),) if found_text and before and after else ()
    if len(middles) == 1:  # which says nothing about types
        return ((middle, frozenset()),), wrappers
    kinds = tuple((text, frozenset(types)) for text, types in middles.items())
    return kinds, wrappers


def _middle(text: str, value: Any, usual: str, value_end: str) -> str | None:
    """What precedes a value that may be spelled in several ways."""
    after = text.partition(KEY_A)[2]
    if not after or after.startswith(usual):
        return usual if after else None
    inside = after[: _end(after, value_end)]
    for spelled in (json.dumps(value), repr(value), json.dumps(value, separators=(",", ":"))):
        at = inside.rfind(spelled)
        if at > 0:
            return inside[:at]
    return None


def _end(text: str, value_end: str) -> int:
    match = re.search(re.escape(value_end.strip().replace(KEY, KEY_A)), text)
    return match.start() if match else len(text)
