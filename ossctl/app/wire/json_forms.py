"""The ways in which servers ask for JSON, a choice, a pattern or a grammar, as one of each.

JSON is OpenAI's `response_format`. The others are the fields `choice`, `regex` and `grammar`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ossctl.errors import RequestError

Fields = dict[str, Any]

_NAME = "answer"  # of a schema that has none; the model sees it

_OPTIONAL = {"name", "description", "strict"}  # beside a schema
_NOTHING: Fields = {}
_UNCONSTRAINED: Fields = {"response_format": {"type": "text"}}


def with_response_format(fields: Fields, supported: tuple[str, ...], where: str = "") -> Fields:
    """`fields` with what constrains the answer in one of the `supported` fields.

    Raises RequestError for two that contradict each other, and for one that is not supported.
    """
    given = [name for name in _READERS if name in fields]
    if not given:
        return fields
    read = {name: _READERS[name](fields[name]) for name in given}
    found = {name: constraint for name, constraint in read.items() if constraint not in ({}, _UNCONSTRAINED)}
    if len(found) > 1:
        first, second, *_ = found
        raise RequestError(f"{first} and {second} both constrain the answer; give one of them")
    for name, constraint in found.items():
        for target in constraint.keys() - {*supported, name}:
            raise RequestError(f"{where}{name} is not supported: it needs {target}")
    constraint = next(iter(found.values()), read.get("response_format", {}))
    return {**{name: value for name, value in fields.items() if name not in given}, **constraint}


def _schema(schema: object, rest: Mapping[str, object] = _NOTHING) -> Fields:
    json_schema = {"name": _NAME, **rest, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": json_schema}}


def _read_response_format(value: object) -> Fields:
    if not isinstance(value, dict):
        return {"response_format": value}
    match value := _without_nulls(value):
        case {"type": "json_object" | "json_schema", "schema": schema, **rest} if rest.keys() <= _OPTIONAL:
            return _schema(schema, rest)  # llama.cpp and Together
        case {"type": "json_schema", "json_schema": dict(inner)}:
            return {"response_format": {**value, "json_schema": {"name": _NAME, **_without_nulls(inner)}}}
        case {"type": "regex", "pattern": pattern}:  # Together
            return {"regex": pattern}
    return {"response_format": value} if value else {}


def _read_schema(name: str) -> Callable[[object], Fields]:
    """A reader of a schema, or of its text, as vLLM takes both."""

    def read(value: object) -> Fields:
        if isinstance(value, str) and value:
            try:
                value = msgspec.json.decode(value)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                raise RequestError(f"{name} is not a JSON schema") from None
        if value in ("", {}):
            return {}
        if not isinstance(value, dict):
            raise RequestError(f"{name} is not a JSON schema")
        return _schema(value)

    return read


def _read_format(value: object) -> Fields:
    """Ollama's."""
    if value == "json":
        return {"response_format": {"type": "json_object"}}
    return _read_schema("format")(value)


def _read_structured_outputs(value: object) -> Fields:
    """vLLM's."""
    if not isinstance(value, dict):
        raise RequestError("structured_outputs: expected object")
    given = {
        name: each
        for name, each in value.items()
        if each not in (None, False, "") and name not in _NO_CONSTRAINTS
    }
    if len(given) > 1:
        first, second, *_ = given
        raise RequestError(f"structured_outputs has {first} and {second}; give one of them")
    for name, each in given.items():
        if name == "json":
            return _read_schema("structured_outputs.json")(each)
        if name == "json_object":
            return {"response_format": {"type": "json_object"}}
        if name not in ("choice", "regex", "grammar"):
            raise RequestError(f"structured_outputs.{name} is not supported")
        return {name: each}
    return {}


_NO_CONSTRAINTS = frozenset({"backend", "disable_any_whitespace", "disable_fallback"})


def _read_as(field: str) -> Callable[[object], Fields]:
    return lambda value: {field: value} if value not in ("", []) else {}


_READERS: Mapping[str, Callable[[object], Fields]] = {
    "response_format": _read_response_format,
    "guided_json": _read_schema("guided_json"),
    "guided_choice": _read_as("choice"),
    "guided_regex": _read_as("regex"),
    "guided_grammar": _read_as("grammar"),
    "structured_outputs": _read_structured_outputs,
    "format": _read_format,
    "json_schema": _read_schema("json_schema"),  # llama.cpp's server
}


def _without_nulls(value: Mapping[str, Any]) -> Fields:
    return {name: each for name, each in value.items() if each is not None}
