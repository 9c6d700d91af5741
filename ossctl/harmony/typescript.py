"""Rendering tools in the TypeScript-like form that the models were trained on.

Layout and punctuation follow the reference renderer exactly, irregularities included. Where the reference
writes `any` for a known type, loses a choice or breaks TypeScript's syntax, the type is written in its style.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ossctl.dialect import Tool
from ossctl.harmony.references import in_place

_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_ESCAPED = re.compile(r'["\\\x00-\x1f]')  # in a string of TypeScript
_IDENTIFIER = re.compile(r"[^\W\d][\w$]*|\$[\w$]*")


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
    """The type of a JSON schema without references; `any` for what this form cannot express."""
    if isinstance(schema, Mapping) and isinstance(variants := schema.get("oneOf"), list):
        return "".join(f"\n{indent} | {_variant(variant, indent)}" for variant in variants)
    return " | ".join(_alternatives(schema, indent))


def _alternatives(schema: Any, indent: str) -> list[str]:
    """The members of the union that a schema is; one for any other type."""
    if not isinstance(schema, Mapping):
        return ["any"]
    if "const" in schema:
        return [_literal(schema["const"])]
    kinds = schema.get("type")
    names = [kind for kind in kinds if isinstance(kind, str)] if isinstance(kinds, list) else []
    values = schema.get("enum")
    if isinstance(values, list) and (literals := [_literal(v) for v in values if _is_of(v, kinds or names)]):
        return literals + ["null"] * ("null" in names and "null" not in literals)
    if names:
        return [_of_kind(name, schema, indent) for name in names]
    if isinstance(variants := schema.get("anyOf"), list) and variants and not isinstance(kinds, str):
        members = [member for variant in variants for member in _members(variant, indent)]
        return ["any"] if "any" in members else list(dict.fromkeys(members))
    return [_single(schema, indent)]


def _members(schema: Any, indent: str) -> list[str]:
    """The alternatives of a schema within a union or a list, `nullable` and `oneOf` included."""
    if isinstance(schema, Mapping) and isinstance(schema.get("oneOf"), list):
        members = [member for variant in schema["oneOf"] for member in _members(variant, indent)]
    else:
        members = _alternatives(schema, indent)
    nullable = isinstance(schema, Mapping) and schema.get("nullable") is True
    return [*members, "null"] if nullable and "null" not in members else members


def _single(schema: Mapping[str, Any], indent: str) -> str:
    """The type of a schema that is no union."""
    match schema.get("type"):
        case str(name) if name in _KINDS:
            return _of_kind(name, schema, indent)
        case None if isinstance(schema.get("properties"), Mapping):
            return _of_kind("object", schema, indent)
        case None if "items" in schema or "prefixItems" in schema:
            return _array(schema, indent)
        case _:
            return "any"


def _of_kind(name: str, schema: Mapping[str, Any], indent: str) -> str:
    if name == "object" and (isinstance(schema.get("type"), str) or _has_members(schema)):
        return "".join(_object(schema, indent))
    if name == "array":
        return _array(schema, indent)
    return "number" if name == "integer" else name


def _array(schema: Mapping[str, Any], indent: str) -> str:
    items, first = schema.get("items"), schema.get("prefixItems")
    if isinstance(first, list) and first:
        types = [" | ".join(_members(item, indent)) for item in first]
        rest = [f"...{_list_of(items, indent)}"] if isinstance(items, Mapping) else []
        return f"[{', '.join([*types, *rest])}]"
    return _list_of(items, indent) if "items" in schema else "Array<any>"


def _list_of(items: Any, indent: str) -> str:
    members = _members(items, indent)
    return f"{members[0]}[]" if len(members) == 1 else f"({' | '.join(members)})[]"


def _is_of(value: Any, kinds: Any) -> bool:
    """Whether a value of an enum is of one of the schema's types, as far as these are known."""
    types = kinds if isinstance(kinds, list) else [kinds]
    known = [_KINDS[kind] for kind in types if isinstance(kind, str) and kind in _KINDS]
    return not known or any(
        isinstance(value, kind) and (bool in kind or not isinstance(value, bool)) for kind in known
    )


def _literal(value: Any) -> str:
    return _quoted(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


def _quoted(text: str) -> str:
    """A string as TypeScript: as it is between quotes, where that is possible."""
    return msgspec.json.encode(text).decode() if _ESCAPED.search(text) else f'"{text}"'


def _namespace(namespace: Namespace) -> Iterator[str]:
    yield f"## {namespace.name}\n"
    comment = "// " if namespace.tools else ""
    yield from (f"{comment}{line}" for line in _lines(namespace.description))
    if not namespace.tools:
        return
    yield f"namespace {namespace.name} {{\n"
    for tool in namespace.tools:
        yield from (f"// {line}" for line in _lines(tool.description))
        parameters = "" if tool.parameters is None else f"_: {typescript(in_place(tool.parameters))}"
        yield f"type {tool.name} = ({parameters}) => any;\n"
    yield f"}} // namespace {namespace.name}"


def _lines(text: str) -> list[str]:
    """Split at newlines only; one at the end starts no further line."""
    lines = re.split("\r?\n", text)
    return lines if lines[-1] else lines[:-1]


def _has_members(schema: Mapping[str, Any]) -> bool:
    return any(isinstance(schema.get(key), Mapping) for key in ("properties", "additionalProperties"))


def _object(schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    if isinstance(description := schema.get("description"), str):
        yield from _comment(description, indent)
    yield "{\n"
    properties, required = schema.get("properties"), schema.get("required")
    needed = required if isinstance(required, list) else []
    if isinstance(properties, Mapping):
        for name, value in properties.items():
            key = name if _IDENTIFIER.fullmatch(name) else _quoted(name)
            yield from _property(key if name in needed else f"{key}?", value, indent)
    others = schema.get("additionalProperties")
    if isinstance(others, Mapping) or (others is True and not properties):
        yield f"{indent}[key: string]: {_nullable(others, f'{indent}    ')},\n"
    yield f"{indent}}}"


def _comment(text: str, indent: str) -> Iterator[str]:
    yield from (f"{indent}// {line}\n" for line in _lines(text) or [""])


def _one_line(text: str) -> str:
    """A text that ends no comment."""
    return " ".join(_lines(text)) if "\n" in text else text


def _property(name: str, schema: Any, indent: str) -> Iterator[str]:
    value = schema if isinstance(schema, Mapping) else {}
    if isinstance(title := value.get("title"), str):
        yield from _comment(title, indent)
        yield f"{indent}//\n"
    description = value.get("description")
    if "oneOf" not in value and isinstance(description, str):
        yield from _comment(description, indent)
    if isinstance(examples := value.get("examples"), list) and examples:
        yield f"{indent}// Examples:\n"
        texts = (_one_line(example) for example in examples if isinstance(example, str))
        yield from (f'{indent}// - "{text}"\n' for text in texts)
    if isinstance(variants := value.get("oneOf"), list):
        yield from _one_of(name, value, variants, indent)
        return
    default = "" if "oneOf" in value else " // ".join(["", *_default(value)])
    yield f"{indent}{name}: {_nullable(value, f'{indent}    ')},{default}\n"


def _one_of(name: str, schema: Mapping[str, Any], variants: list[Any], indent: str) -> Iterator[str]:
    description = schema.get("description")
    first = variants[0].get("description") if variants and isinstance(variants[0], Mapping) else None
    above = isinstance(description, str) and description != first
    if isinstance(description, str) and above:
        yield from _comment(description, indent)
    yield from (f"{indent}// {comment}\n" for comment in _default(schema))
    yield f"{indent}{name}:\n"
    for position, variant in enumerate(variants):
        comments = list(_default(variant))
        own = variant.get("description") if isinstance(variant, Mapping) else None
        if isinstance(own, str) and own != description and not (position == 0 and above):
            comments.insert(0, _one_line(own))
        comment = f" // {' '.join(comments)}" if comments else ""
        yield f"{indent} | {_nullable(variant, f'{indent}   ')}{comment}\n"
    yield f"{indent},\n"


def _variant(schema: Any, indent: str) -> str:
    """An alternative outside of a property, where even the default of an enum is quoted."""
    comments = []
    if isinstance(schema, Mapping):
        if isinstance(schema.get("description"), str):
            comments.append(_one_line(schema["description"]))
        comments += _default(schema, quoted=True)
    text = _nullable(schema, f"{indent}   ")
    return f"{text} // {' '.join(comments)}" if comments else text


def _nullable(schema: Any, indent: str) -> str:
    if isinstance(schema, Mapping) and not isinstance(schema.get("oneOf"), list):
        return " | ".join(_members(schema, indent))
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
        yield f'default: "{_one_line(default)}"'
    else:
        yield f"default: {msgspec.json.encode(default).decode() if quoted else _one_line(default)}"
