"""Grammars of calls in a template's own format, in Lark's syntax as llguidance reads it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ossctl.dialect import Schema, Tool
from ossctl.templates.template_format import ID, INDEX, KEY, NAME, CallFormat, Path, Tagged

_HOLES = {ID: "/[a-zA-Z0-9]{9}/", INDEX: "/[0-9]/"}
_ANY_OBJECT: Schema = {"type": "object"}
_NO_ARGUMENTS: Schema = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class CallGrammar:
    """A grammar, with `@schema0@` and so on where the JSON of the schemas belongs."""

    text: str
    schemas: Sequence[Schema]


def call_grammar(
    form: CallFormat, tools: Sequence[Tool], special: Mapping[str, int], *, parallel: bool = True
) -> CallGrammar:
    """One call of `tools`, or several if the format and `parallel` allow it, and nothing else.

    `special` are the ids of control tokens by their texts, which a grammar must not spell.
    """
    return _Writer(form, special).write(tools, parallel=parallel and not form.one_call)


@dataclass
class _Writer:
    form: CallFormat
    special: Mapping[str, int]
    rules: list[str] = field(default_factory=list)
    schemas: list[Schema] = field(default_factory=list)

    def write(self, tools: Sequence[Tool], *, parallel: bool) -> CallGrammar:
        form = self.form
        names = [f"call{number}" for number, _ in enumerate(tools)]
        for name, tool in zip(names, tools, strict=True):
            self.rules.append(f"{name}: {self._call(tool)}")
        self.rules.append(f"call: {' | '.join(names)}")
        opening, closing = ("[", "]") if form.array else ("", "")
        separator = ", " if form.array else form.separator
        more = f"({self._text(separator)} call)*" if parallel else ""
        start = [self._text(form.section_start + opening), "call", more]
        start.append(self._text(closing + form.section_end.rstrip()))
        rules = [f"start: {' '.join(filter(None, start))}", *self.rules]
        return CallGrammar("\n".join(rules) + "\n", self.schemas)

    def _call(self, tool: Tool) -> str:
        form = self.form
        start = self._text(form.call_start.replace(NAME, tool.name))
        body = self._body(tool, tool.parameters or _NO_ARGUMENTS)
        return " ".join(filter(None, [start, body, self._text(form.call_end)]))

    def _body(self, tool: Tool, parameters: Schema) -> str:
        form = self.form
        if form.kind == "tagged" and form.tagged is not None:
            return self._tagged(form.tagged, parameters)
        if form.kind == "dialect":
            return self._dialect(parameters)
        if form.kind == "python":
            return self._items(parameters, "{key}=", self._json) + ' ")"'
        if form.name_is_key:
            return self._json(_object({tool.name: parameters}))
        if form.name_path is None:
            return self._json(parameters)
        call: dict[str, Any] = {}
        paths: Iterator[tuple[Path | None, Any]] = iter(
            (
                (form.id_path if form.id_path and form.id_path < form.name_path else None, _IDENTITY),
                (form.name_path, {"const": tool.name}),
                (form.arguments_path, parameters),
                (form.id_path if form.id_path and not form.id_path < form.name_path else None, _IDENTITY),
            )
        )
        for path, schema in paths:
            if path is not None:
                _place(call, path, schema)
        return self._json(_nested(call))

    def _tagged(self, form: Tagged, parameters: Schema) -> str:
        parts = []
        required = set(parameters.get("required") or ())
        for number, (key, schema) in enumerate((parameters.get("properties") or {}).items()):
            middles = (text for text, types in form.middles if types & _types(schema))
            before = (form.separator if number else "") + form.key_start + key
            before += next(middles, form.middles[0][0])
            part = f"{self._text(before)} {self._value(schema, form.value_end.replace(KEY, key))}"
            parts.append(part if key in required else f"({part})?")
        return " ".join(parts)

    def _value(self, schema: Any, end: str) -> str:
        """A string as it is, or anything else as JSON, and `end`."""
        if "enum" in schema and all(isinstance(value, str) for value in schema["enum"]):
            return "(" + " | ".join(self._text(value) for value in schema["enum"]) + f") {self._text(end)}"
        if _types(schema) != {"string"}:
            return f"{self._json(schema)} {self._text(end)}"
        return self._string(schema, end)

    def _string(self, schema: Any, end: str) -> str:
        """Any text up to the first `end`."""
        count = f"{{{schema.get('minLength', 0)},{schema.get('maxLength', '')}}}"
        any_text = f"/(?s:.{count})/"
        first = self._pieces(end)[0]
        rest = self._text(end[len(first) :])
        name = f"text{len(self.rules)}"
        if first in self.special:
            self.rules.append(f"{name.upper()}: {any_text}")
            return f"{name.upper()} {self._text(first)} {rest}"
        self.rules.append(f"{name}[suffix={json.dumps(first, ensure_ascii=False)}]: {any_text}")
        return f"{name} {rest}"

    def _dialect(self, schema: Any) -> str:
        """A value with bare keys, and strings in quotes of their own."""
        types = _types(schema)
        if types == {"string"}:
            return f"{self._text(self.form.quote)} {self._value(schema, self.form.quote)}"
        if types == {"object"}:
            return f'"{{" {self._items(schema, "{key}:", self._dialect, ",")} "}}"'
        if types == {"array"}:
            item = self._dialect(schema.get("items") or {"type": "string"})
            return f'"[" ({item} ("," {item})*)? "]"'
        return self._json(schema)

    def _items(self, parameters: Schema, key_form: str, value: Any, separator: str = ", ") -> str:
        """Named values with separators between them, those that are not required last."""
        properties = parameters.get("properties") or {}
        required = [key for key in properties if key in (parameters.get("required") or ())]
        optional = [key for key in properties if key not in required]
        written = ""
        for number, key in enumerate(required):
            before = (separator if number else "") + key_form.format(key=key)
            written += f" {self._text(before)} {value(properties[key])}"
        tail = ""
        for key in reversed(optional):
            part = f"{self._text(key_form.format(key=key))} {value(properties[key])}"
            tail = f"({part}{f' ({self._text(separator)} {tail})?' if tail else ''})"
        if tail:
            written += f" ({self._text(separator)} {tail})?" if required else f" {tail}?"
        return written.strip() or '""'

    def _json(self, schema: Schema) -> str:
        self.schemas.append(schema)
        return f"%json @schema{len(self.schemas) - 1}@"

    def _text(self, text: str) -> str:
        """A text whose control tokens are tokens, with what differs from call to call."""
        written = []
        for part in self._pieces(text):
            if part in self.special:
                written.append(f"<[{self.special[part]}]>")
            else:
                written.append(_HOLES.get(part) or json.dumps(part, ensure_ascii=False))
        return " ".join(written)

    def _pieces(self, text: str) -> list[str]:
        marks = [*sorted(self.special, key=len, reverse=True), *_HOLES]
        return list(filter(None, re.split("(" + "|".join(map(re.escape, marks)) + ")", text)))


_IDENTITY: Schema = {"type": "string", "pattern": "^[a-zA-Z0-9]{9}$"}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    names = list(properties)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _place(tree: dict[str, Any], path: Path, schema: Any) -> None:
    """Put a schema at a path of keys."""
    for step in path[:-1]:
        tree = tree.setdefault(str(step), {})
    tree[str(path[-1])] = _Leaf(schema)


@dataclass(frozen=True)
class _Leaf:
    schema: Any


def _nested(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object with exactly these parts."""
    return _object(
        {key: part.schema if isinstance(part, _Leaf) else _nested(part) for key, part in tree.items()}
    )


def _types(schema: Any) -> frozenset[str]:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(kind, str):
        return frozenset({kind})
    return frozenset(kind) if isinstance(kind, list | tuple) else frozenset()
