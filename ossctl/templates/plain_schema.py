"""Schemas as simple as the templates that read them expect: one type each, and nothing left out."""

from collections.abc import Mapping
from typing import Any

_DEPTH = 32  # deeper ones are an object without details


def plain_schema(schema: Any, depth: int = 0) -> dict[str, Any]:
    """`schema` without unions, and with everything that some template takes for granted."""
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    chosen = {**schema, **_option(schema)}
    kind = _kind(chosen)
    plain: dict[str, Any] = {"type": kind, "description": str(chosen.get("description", ""))}
    if "enum" in chosen:
        plain["enum"] = chosen["enum"]
    if kind == "object":
        properties = chosen.get("properties") or {}
        plain["properties"] = {name: plain_schema(part, depth + 1) for name, part in properties.items()}
        plain["required"] = list(chosen.get("required") or ())
        plain["additionalProperties"] = {"type": "string"}
    if kind == "array":
        plain["items"] = plain_schema(chosen.get("items") or {"type": "string"}, depth + 1)
    return plain


def _option(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first choice that is not null."""
    options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or ()
    usable = (option for option in options if isinstance(option, Mapping) and option.get("type") != "null")
    return next(usable, {})


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list | tuple):
        kind = next((one for one in kind if one != "null"), None)
    if kind in ("string", "number", "integer", "boolean", "array", "object"):
        return str(kind)
    return "object" if "properties" in schema else "string"
