"""Arguments that are tagged one by one, with types that only the function's schema tells."""

import json
import re
from collections.abc import Iterator
from typing import Any

from ossctl.dialect import Schema
from ossctl.templates.loose_json import NotAValue, read_loose
from ossctl.templates.markers import first_tag, flexible
from ossctl.templates.template_format import KEY, Tagged

_KEY = r"(?P<key>[^\s<>\"=/][^\s<>\"=]*?)"


class TaggedReader:
    """Reads `key_start K middle V value_end`, again and again."""

    def __init__(self, form: Tagged, call_end: str, section_end: str) -> None:
        self._form = form
        middles = "|".join(
            f"(?P<m{number}>{_touching(middle, left=True)})"
            for number, (middle, _) in enumerate(form.middles)
        )
        self._start = re.compile(r"\s*" + flexible(form.key_start.strip()) + _KEY + f"(?:{middles})")
        texts = (form.key_start, first_tag(call_end), first_tag(section_end))
        follow = [text for text in texts if text.strip()]
        # A string may contain the marker, which ends it only where something else of the format follows.
        ends = "|".join(flexible(text.strip(), {KEY: r"[\w.\-]+", "{NAME}": r"[\w.\-]+"}) for text in follow)
        self._follows = rf"(?=\s*(?:{ends}|\Z))" if ends else ""
        separator = flexible(form.separator.strip())
        self._separator = re.compile(rf"\s*(?:{separator})?" if separator else r"\s*")

    def read(self, text: str, at: int, schema: Schema | None) -> tuple[dict[str, Any], int]:
        """The arguments from an index on, and the index after them. Raises NotAValue if one has no end."""
        properties = (schema or {}).get("properties") or {}
        found: dict[str, Any] = {}
        while match := self._start.match(text, at):
            key = match["key"]
            number = next(n for n in range(len(self._form.middles)) if match[f"m{n}"] is not None)
            end = self._end(key).search(text, match.end())
            if end is None:
                raise NotAValue
            value = text[match.end() : end.start()]
            found[key] = self._value(value, properties.get(key), self._form.middles[number][1])
            at = end.end()
            separator = self._separator.match(text, at)
            at = separator.end() if separator and separator[0].strip() else at
        return found, at

    def _value(self, text: str, schema: Any, announced: frozenset[str]) -> Any:
        """A value, which is tags again where keys are tags and the schema allows it."""
        types = _types(schema)
        if KEY in self._form.value_end and types != {"string"} and self._start.match(text):
            try:
                return self._tree(text, schema if isinstance(schema, dict) else {}, announced)
            except (NotAValue, RecursionError):
                return text
        return typed(self._unwrapped(text), schema, announced)

    def _tree(self, text: str, schema: dict[str, Any], announced: frozenset[str]) -> Any:
        """An array of parts of the same name, or an object."""
        parts = list(self._parts(text))
        names = {name for name, _ in parts}
        if "array" in _types(schema) or (names == {"item"} and "object" not in _types(schema)):
            return [self._value(part, schema.get("items"), announced) for _, part in parts]
        properties = schema.get("properties") or {}
        return {name: self._value(part, properties.get(name), announced) for name, part in parts}

    def _parts(self, text: str) -> Iterator[tuple[str, str]]:
        """Names and texts of the outermost tags. Raises NotAValue if there is anything else."""
        at = 0
        while text[at:].strip():
            start = self._start.match(text, at)
            if start is None:
                raise NotAValue
            key = re.escape(start["key"])
            marker = flexible(self._form.value_end.replace(KEY, start["key"]).strip())
            same = re.compile(rf"(?P<end>{marker})|{flexible(self._form.key_start.strip())}{key}(?=[\s>])")
            end = _balanced(same, text, start.end())
            yield start["key"], text[start.end() : end.start()]
            at = end.end()

    def _end(self, key: str) -> re.Pattern[str]:
        marker = self._form.value_end.replace(KEY, key)
        return re.compile(_touching(marker, left=False) + self._follows)

    def _unwrapped(self, value: str) -> str:
        for before, after in self._form.wrappers:
            if value.startswith(before) and value.endswith(after) and len(value) >= len(before + after):
                return value[len(before) : len(value) - len(after)]
        return value


def _balanced(same: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    """The end that belongs to the tag before an index. Raises NotAValue."""
    depth = 1
    for match in same.finditer(text, at):
        depth += -1 if match["end"] else 1
        if not depth:
            return match
    raise NotAValue


def _touching(marker: str, *, left: bool) -> str:
    """An expression for a marker next to a value: of the newlines between, only one belongs to it."""
    core = marker.strip()
    before, after = marker[: len(marker) - len(marker.lstrip())], marker[len(marker.rstrip()) :]
    if left:
        return (r"\s*" if before else "") + flexible(core) + (r"\n?" if "\n" in after else re.escape(after))
    return (r"\n?" if "\n" in before else re.escape(before)) + flexible(core) + (r"\s*" if after else "")


def typed(text: str, schema: Any, announced: frozenset[str]) -> Any:
    """The value that a text stands for: a string if the schema says so, else JSON or Python, else text."""
    types = _types(schema) or announced
    if types == {"string"}:
        return text
    value = _decoded(text.strip())
    if isinstance(value, str):
        return value if types and "string" not in types else text
    return text if "string" in types and not types & _names_of(value) else value


def _decoded(text: str) -> Any:
    """The value, or the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        value, end = read_loose(text, 0)
    except NotAValue:
        return text
    return value if end == len(text) else text


def _names_of(value: Any) -> frozenset[str]:
    """What JSON schemas call the type of a value."""
    if value is None:
        return frozenset({"null"})
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int | float):
        return frozenset({"number", "integer"}) if value == int(value) else frozenset({"number"})
    return frozenset({"array"}) if isinstance(value, list) else frozenset({"object"})


def _types(schema: Any) -> frozenset[str]:
    """The types that a schema allows; empty if it does not say."""
    if not isinstance(schema, dict):
        return frozenset()
    if isinstance(schema.get("type"), str):
        return frozenset({schema["type"]})
    if isinstance(schema.get("type"), list):
        return frozenset(schema["type"])
    options = schema.get("anyOf") or schema.get("oneOf") or []
    return frozenset().union(*map(_types, options)) if options and all(map(_types, options)) else frozenset()
