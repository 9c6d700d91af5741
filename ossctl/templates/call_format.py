"""Deriving how calls are written: candidates are made from probes, and tested on others."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ossctl.dialect import Schema
from ossctl.templates.call_probe import (
    KEY_A,
    KEY_B,
    KEY_C,
    ONE,
    OTHER,
    Calls,
    Surroundings,
    forms,
    head_of,
    surroundings,
    without_end,
)
from ossctl.templates.call_reader import CallReader
from ossctl.templates.chat_rules import declared
from ossctl.templates.loose_json import NotAValue, read_json
from ossctl.templates.probe import FIRST, IDS, SECOND, TEXT, Probe
from ossctl.templates.tagged_format import tagged_formats
from ossctl.templates.template_format import CallFormat, ChatRules, Path

_SCHEMA: Schema = {"type": "object", "properties": {key: {"type": "string"} for key in (KEY_A, KEY_B, KEY_C)}}
_TRIALS: tuple[tuple[tuple[tuple[str, dict[str, Any]], ...], str], ...] = (
    (((FIRST, ONE),), ""),
    (((FIRST, ONE), (SECOND, OTHER)), ""),
    (((FIRST, ONE),), TEXT),
    (((FIRST, {}),), ""),
    (((FIRST, {KEY_A: 'a "b"\n<c>', KEY_B: "42"}),), ""),
)


def derive_calls(probe: Probe, rules: ChatRules) -> CallFormat | None:
    """How the model writes calls; None if the template renders none."""
    best: tuple[int, CallFormat] | None = None
    for calls in forms(probe, rules):
        for form in _candidates(calls):
            score = _score(calls, form)
            if score == len(_TRIALS):
                return form
            if score and (best is None or score > best[0]):
                best = score, form
    return best[1] if best else None


def _candidates(calls: Calls) -> Iterator[CallFormat]:
    one = calls.turn((FIRST, ONE)) or ""
    two = calls.turn((FIRST, ONE), (SECOND, OTHER))
    if two is not None and not all(text in two for text in (SECOND, *OTHER, *OTHER.values())):
        two = None
    beside = calls.turn((FIRST, ONE), text=TEXT)
    if beside is not None and (TEXT not in beside or beside.rfind(TEXT) > beside.find(FIRST)):
        beside = None
    texts = Texts(calls, one, two, beside)
    for form in [*texts.json(), *tagged_formats(calls, one, two, beside)]:
        turn = calls.turn((FIRST, ONE), text=TEXT) or ""
        shown = TEXT in turn and FIRST in turn
        message = replace(calls.message, with_content=shown)
        yield replace(form, one_call=two is None, message=message)


class Texts:
    """Renderings of one call, of two, and of one beside a text, with JSON in them."""

    def __init__(self, calls: Calls, one: str, two: str | None, beside: str | None) -> None:
        self._calls = calls
        self._one, self._two, self._beside = one, two, beside

    def json(self) -> Iterator[CallFormat]:
        body = find_json(self._one, ONE)
        if body is None:
            return
        start, end, value = body
        around, array = self._around(start, end)
        if array:
            value = value[0]
        path = path_to(value, ONE)
        if path is None:
            return
        name = path_to(value, FIRST)
        key = path[:1] == (FIRST,)
        yield CallFormat(
            "json",
            around.section_start,
            around.call_start,
            around.call_end,
            around.separator,
            around.section_end,
            array=array,
            name_path=name,
            arguments_path=() if key else path,
            name_is_key=key,
            id_path=path_to(value, IDS[0]),
        )

    def _around(self, start: int, end: int) -> tuple[Surroundings, bool]:
        beside = self._beside
        body = find_json(beside, ONE) if beside else None
        before = beside[beside.find(TEXT) + len(TEXT) : body[0]] if beside and body else None
        head = head_of(self._one[:start], before)
        variables = declared(self._calls.rules, ())
        mid, tail = None, self._one[end:]
        if self._two is not None:
            first, second = find_json(self._two, ONE), find_json(self._two, OTHER)
            if first and second and first[:2] == second[:2]:
                tail = without_end(self._two[first[1] :], self._calls.probe, variables)
                return Surroundings(head, "", "", "", tail), True
            if first and second:
                mid, tail = self._two[first[1] : second[0]], self._two[second[1] :]
                if before is None:
                    head = head_of(self._two[: first[0]], None)
        array = isinstance(find_json(self._one, ONE)[2], list)  # type: ignore[index]  # known to be there
        around = surroundings(head, mid, without_end(tail, self._calls.probe, variables, mid or ""))
        return around, array


def find_json(text: str, arguments: Any) -> tuple[int, int, Any] | None:
    """The first JSON value that contains `arguments`: (start, end, value)."""
    for start, character in enumerate(text):
        if character in "{[":
            try:
                value, end = read_json(text, start)
            except NotAValue:
                continue
            if path_to(value, arguments) is not None:
                return start, end, value
    return None


def path_to(value: Any, wanted: Any) -> Path | None:
    """Where `wanted`, or a text of JSON that decodes to it, is inside a decoded value."""
    if value == wanted:
        return ()
    if isinstance(value, str) and isinstance(wanted, dict):
        try:
            return () if json.loads(value) == wanted else None
        except ValueError:
            return None
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in steps:
        path = path_to(item, wanted)
        if path is not None:
            return (step, *path)
    return None


def _score(calls: Calls, form: CallFormat) -> int:
    """The number of trials whose calls are read back from their own rendering."""
    score = 0
    for trial, text in _TRIALS:
        if (form.one_call and len(trial) > 1) or (text and not form.message.with_content):
            score += 1
            continue
        turn = calls.turn(*trial, text=text)
        if turn is None:
            continue
        found = CallReader(form, {FIRST: _SCHEMA, SECOND: _SCHEMA}).read(turn)
        read = [(call.name, json.loads(call.arguments)) for call in found.calls]
        score += read == [(name, dict(arguments)) for name, arguments in trial]
    return score
