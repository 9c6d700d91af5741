"""Puts the references of a JSON schema in place, so that each of its parts can be read alone."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

_MAX_NODES = 1_000  # schemas in the result; further references are left out
_MAX_DEPTH = 16  # of schemas, up to a reference

_MAPS = ("properties", "patternProperties")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")


def in_place(schema: Any) -> Any:
    """A schema without `$ref` and `allOf`. A reference to a schema around itself is left out, as `{}`."""
    return _Resolver(schema).resolve(schema, (), 0)


class _Resolver:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._nodes = 0

    def resolve(self, schema: Any, around: tuple[str, ...], depth: int) -> Any:
        """`around` are the references that this schema came from."""
        if not isinstance(schema, Mapping):
            return schema
        self._nodes += 1
        parts: dict[str, Any] = {}
        for reference, part in self._parts(schema, around, depth):
            around = (*around, reference) if reference else around
            parts = _merged(parts, part)
        return dict(self._children(_merged(parts, schema), around, depth + 1))

    def _parts(
        self, schema: Mapping[str, Any], around: tuple[str, ...], depth: int
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The schemas that this one includes, and their references, if they have one."""
        included = schema.get("allOf")
        for part in (schema, *(included if isinstance(included, list) else ())):
            if not isinstance(part, Mapping):
                continue
            reference = part.get("$ref")
            if isinstance(reference, str):
                if reference in around or depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
                    continue
                self._nodes += 1
                target = self._target(reference)
                yield from ((reference, target), *self._parts(target, (*around, reference), depth + 1))
            elif part is not schema:
                yield "", part
                yield from self._parts(part, around, depth + 1) if "allOf" in part else ()

    def _target(self, reference: str) -> Mapping[str, Any]:
        """What a JSON pointer into the schema means; {} for any other reference."""
        found = self._root
        start, _, pointer = reference.partition("#")
        for step in pointer.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) and not start else {}

    def _children(
        self, schema: Mapping[str, Any], around: tuple[str, ...], depth: int
    ) -> Iterator[tuple[str, Any]]:
        for key, value in schema.items():
            if key in _MAPS and isinstance(value, Mapping):
                yield key, {name: self.resolve(part, around, depth) for name, part in value.items()}
            elif key in _LISTS and isinstance(value, list):
                yield key, [self.resolve(part, around, depth) for part in value]
            elif key in _SINGLE:
                yield key, self.resolve(value, around, depth)
            elif key not in ("$ref", "allOf", "$defs", "definitions"):
                yield key, value


def _merged(part: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Both schemas as one; where they differ, `schema` holds."""
    merged = {**part, **schema}
    if isinstance(part.get("properties"), Mapping) and isinstance(schema.get("properties"), Mapping):
        merged["properties"] = {**part["properties"], **schema["properties"]}
    if isinstance(part.get("required"), list) and isinstance(schema.get("required"), list):
        merged["required"] = [*part["required"], *schema["required"]]
    return merged
