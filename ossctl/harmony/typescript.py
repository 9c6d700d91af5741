"""Rendering tools in the TypeScript-like form that the models were trained on.

Layout and punctuation follow the reference renderer exactly, irregularities included.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ossctl.dialect import Tool


@dataclass(frozen=True)
class Namespace:
    """A group of functions under one name."""

    name: str
    description: str = ""
    tools: tuple[Tool, ...] = ()


def tools_section(namespaces: Iterable[Namespace]) -> str:
    """The `# Tools` section of a system or developer message."""
    ordered = sorted(namespaces, key=lambda namespace: namespace.name)
    return "\n\n".join(["# Tools", *("\n".join(_namespace(namespace)) for namespace in ordered)])


def typescript(schema: Any, indent: str = "") -> str:
    """The type of a JSON schema; `any` for what this form cannot express."""
    if not isinstance(schema, Mapping):
        return "any"
    if isinstance(variants := schema.get("oneOf"), list):
        return "".join(f"\n{indent} | {_variant(variant, indent)}" for variant in variants)
    match schema.get("type"):
        case [*kinds] if names := [kind for kind in kinds if isinstance(kind, str)]:
            text = " | ".join("number" if name == "integer" else name for name in names)
        case "object":
            text = "".join(_object(schema, indent))
        case "string":
            text = _string(schema)
        case "number" | "integer":
            text = "number"
        case "boolean":
            text = "boolean"
        case "array":
            text = f"{typescript(schema['items'], indent)}[]" if "items" in schema else "Array<any>"
        case _:
            text = "any"
    return text


def _string(schema: Mapping[str, Any]) -> str:
    values = schema.get("enum")
    texts = [f'"{value}"' for value in values if isinstance(value, str)] if isinstance(values, list) else []
    return " | ".join(texts) or "string"


def _namespace(namespace: Namespace) -> Iterator[str]:
    yield f"## {namespace.name}\n"
    comment = "// " if namespace.tools else ""
    yield from (f"{comment}{line}" for line in _lines(namespace.description))
    if not namespace.tools:
        return
    yield f"namespace {namespace.name} {{\n"
    for tool in namespace.tools:
        yield from (f"// {line}" for line in _lines(tool.description))
        parameters = "" if tool.parameters is None else f"_: {typescript(tool.parameters)}"
        yield f"type {tool.name} = ({parameters}) => any;\n"
    yield f"}} // namespace {namespace.name}"


def _lines(text: str) -> list[str]:
    """Split at newlines only; one at the end starts no further line."""
    lines = re.split("\r?\n", text)
    return lines if lines[-1] else lines[:-1]


def _object(schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    if isinstance(description := schema.get("description"), str):
        yield f"{indent}// {description}\n"
    yield "{\n"
    properties, required = schema.get("properties"), schema.get("required")
    needed = required if isinstance(required, list) else []
    if isinstance(properties, Mapping):
        for name, value in properties.items():
            yield from _property(name if name in needed else f"{name}?", value, indent)
    yield f"{indent}}}"


def _property(name: str, schema: Any, indent: str) -> Iterator[str]:
    value = schema if isinstance(schema, Mapping) else {}
    if isinstance(title := value.get("title"), str):
        yield f"{indent}// {title}\n{indent}//\n"
    description = value.get("description")
    if "oneOf" not in value and isinstance(description, str):
        yield f"{indent}// {description}\n"
    if isinstance(examples := value.get("examples"), list) and examples:
        yield f"{indent}// Examples:\n"
        yield from (f'{indent}// - "{example}"\n' for example in examples if isinstance(example, str))
    if isinstance(variants := value.get("oneOf"), list):
        yield from _one_of(name, value, variants, indent)
        return
    default = "" if "oneOf" in value else " // ".join(["", *_default(value)])
    yield f"{indent}{name}: {_nullable(value, f'{indent}    ')},{default}\n"


def _one_of(name: str, schema: Mapping[str, Any], variants: list[Any], indent: str) -> Iterator[str]:
    description = schema.get("description")
    first = variants[0].get("description") if variants and isinstance(variants[0], Mapping) else None
    above = isinstance(description, str) and description != first
    if above:
        yield f"{indent}// {description}\n"
    yield from (f"{indent}// {comment}\n" for comment in _default(schema))
    yield f"{indent}{name}:\n"
    for position, variant in enumerate(variants):
        comments = list(_default(variant))
        own = variant.get("description") if isinstance(variant, Mapping) else None
        if isinstance(own, str) and own != description and not (position == 0 and above):
            comments.insert(0, own)
        comment = f" // {' '.join(comments)}" if comments else ""
        yield f"{indent} | {_nullable(variant, f'{indent}   ')}{comment}\n"
    yield f"{indent},\n"


def _variant(schema: Any, indent: str) -> str:
    """An alternative outside of a property, where even the default of an enum is quoted."""
    comments = []
    if isinstance(schema, Mapping):
        if isinstance(schema.get("description"), str):
            comments.append(schema["description"])
        comments += _default(schema, quoted=True)
    text = _nullable(schema, f"{indent}   ")
    return f"{text} // {' '.join(comments)}" if comments else text


def _nullable(schema: Any, indent: str) -> str:
    text = typescript(schema, indent)
    nullable = isinstance(schema, Mapping) and schema.get("nullable") is True
    return f"{text} | null" if nullable and "null" not in text else text


def _default(schema: Any, *, quoted: bool = False) -> Iterator[str]:
    """`default: …`, if there is one. Strings are quoted, except those of an enum unless `quoted`."""
    if not isinstance(schema, Mapping) or "default" not in schema:
        return
    default = schema["default"]
    if not isinstance(default, str):
        yield f"default: {msgspec.json.encode(default).decode()}"
    elif not schema.get("enum") or not isinstance(schema["enum"], list):
        yield f'default: "{default}"'
    else:
        yield f"default: {msgspec.json.encode(default).decode() if quoted else default}"
