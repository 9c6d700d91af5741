"""Drops the titles that pydantic gives every schema: `City` for `city` says nothing, but costs tokens."""

from typing import Any

_VALUES = {"const", "default", "enum", "examples"}  # hold values, not schemas


def without_titles(schema: dict[str, Any], tool: str) -> dict[str, Any]:
    """The schema of a function's arguments without titles that only repeat a name."""
    kept = {key: value for key, value in schema.items() if (key, value) != ("title", f"{tool}Arguments")}
    untitled = _untitled(kept)
    return untitled if isinstance(untitled, dict) else schema


def _untitled(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _properties(value) if key == "properties" else value if key in _VALUES else _untitled(value)
        for key, value in schema.items()
    }


def _properties(properties: Any) -> Any:
    if not isinstance(properties, dict):
        return properties
    return {name: _untitled(_without_its_name(name, schema)) for name, schema in properties.items()}


def _without_its_name(name: str, schema: Any) -> Any:
    """The schema of a property without a title like its name's."""
    if isinstance(schema, dict) and schema.get("title") == name.replace("_", " ").title():
        return {key: value for key, value in schema.items() if key != "title"}
    return schema
