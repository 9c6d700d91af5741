"""JSON schemas as grammars get them: with closed objects, and with bounds that llguidance enforces."""

from collections.abc import Callable, Iterator
from typing import Any, TypeGuard
from urllib.parse import unquote

from ossctl.schemas.references import escaped, part_at

_SCHEMAS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions")
_BRANCHES = ("allOf", "anyOf", "oneOf")
_SUBSCHEMAS = ("items", "prefixItems", "additionalProperties")

_LEAST_STEP = 1e-15  # from an excluded bound to the first number that is allowed


def closed(schema: Any) -> Any:
    """`schema` without additional properties wherever it names properties and does not set the rest.

    Models would otherwise invent properties until their tokens run out.
    """
    return _Closing(schema).run()


def find_culprit(schema: Any, fails: Callable[[Any], bool]) -> str:
    """The JSON pointer of the innermost part of `schema` that `fails` by itself, "" for all of it."""
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    pointer, seen = "", {""}
    while True:
        for child in _child_pointers(resolve(schema, f"#{pointer}"), pointer):
            part = resolve(schema, f"#{child}")
            if child not in seen and isinstance(part, dict) and fails({**definitions, **part}):
                pointer = child
                seen.add(child)
                break
        else:
            return pointer


def resolve(schema: Any, reference: Any) -> Any:
    """The part of `schema` that a `$ref` to the same document means; None if there is none."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    return part_at(schema, unquote(reference[1:]))


class _Closing:
    """Closes the objects of one schema.

    Where several parts describe the same object, as in `allOf`, each has to allow the others' properties: the
    parts stay open, and the schema that joins them is closed.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._open_names: dict[str, str] = {}  # of open copies of definitions, by reference
        self._open_copies: dict[str, Any] = {}

    def run(self) -> Any:
        schema = self._rewritten(self._root)
        if self._open_copies:
            schema["$defs"] = {**_mapping(schema, "$defs"), **self._open_copies}
        return schema

    def _rewritten(self, node: Any, *, close: bool = True) -> Any:
        if isinstance(node, list):
            return [self._rewritten(item, close=close) for item in node]
        if not isinstance(node, dict):
            return node
        close_parts = close and _n_parts(node) == 1
        schema = dict(node)
        for key in _SCHEMAS_BY_NAME:
            if isinstance(node.get(key), dict):
                schema[key] = {name: self._rewritten(part) for name, part in node[key].items()}
        for key in (*_SUBSCHEMAS, *_BRANCHES):
            if key in node:
                schema[key] = self._rewritten(node[key], close=key not in _BRANCHES or close_parts)
        if "$ref" in node and not close_parts:
            schema["$ref"] = self._open_copy(node["$ref"])
        if close:
            self._close(node, schema)
        return _with_exact_bounds(schema)

    def _close(self, node: dict[str, Any], schema: dict[str, Any]) -> None:
        names = self._names(node, joined=_n_parts(node) > 1)
        least = _number(node.get("minProperties")) or 0
        if names is None or "additionalProperties" in node or least > len(names):
            return
        schema["properties"] = dict.fromkeys(names, True) | _mapping(schema, "properties")
        schema["additionalProperties"] = False

    def _names(self, node: Any, *, joined: bool) -> list[str] | None:
        """The properties that `node` names, with those of its parts if they are `joined`.

        None if other properties are allowed, or if the schema does not describe objects.
        """
        found: dict[str, None] = {}
        parts = [node]
        is_object = False
        for part in parts:
            if not isinstance(part, dict):
                continue
            if part is not node and part.get("additionalProperties", False) is not False:
                return None
            if joined and "patternProperties" in part:
                return None
            is_object = is_object or any(
                isinstance(part.get(key), dict) for key in ("properties", "patternProperties")
            )
            found |= dict.fromkeys((*_mapping(part, "properties"), *_items(part, "required")))
            if joined:
                nested = [resolve(self._root, part.get("$ref")), *_branches(part)]
                parts += [new for new in nested if not any(new is old for old in parts)]
        return list(found) if is_object else None

    def _open_copy(self, reference: Any) -> Any:
        """A reference to a copy of a definition that is not closed."""
        target = resolve(self._root, reference)
        if not isinstance(target, dict):
            return reference
        if reference not in self._open_names:
            name = self._open_names[reference] = f"ossctl-open-{len(self._open_names)}"
            self._open_copies[name] = self._rewritten(target, close=False)
        return f"#/$defs/{self._open_names[reference]}"


def _n_parts(node: dict[str, Any]) -> int:
    """How many parts of a schema describe the same value."""
    own = {"properties", "patternProperties", "additionalProperties"} & node.keys()
    return bool(own) + len(_items(node, "allOf")) + sum(key in node for key in ("anyOf", "oneOf", "$ref"))


def _branches(node: dict[str, Any]) -> Iterator[Any]:
    for key in _BRANCHES:
        yield from _items(node, key)


def _mapping(node: dict[str, Any], key: str) -> dict[str, Any]:
    value = node.get(key)
    return value if isinstance(value, dict) else {}


def _items(node: dict[str, Any], key: str) -> list[Any]:
    value = node.get(key)
    return value if isinstance(value, list) else []


def _with_exact_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with an excluded whole number moved inwards if the other bound is less than 1 away.

    llguidance 1.9 includes such a bound: a rate above 0 and up to 0.5 could be 0.
    """
    low, high = _number(schema.get("exclusiveMinimum")), _number(schema.get("exclusiveMaximum"))
    lowest, highest = _number(schema.get("minimum", low)), _number(schema.get("maximum", high))
    if _is_whole(low) and highest is not None and low + _LEAST_STEP < highest < low + 1:
        schema = {**schema, "exclusiveMinimum": low + _LEAST_STEP}
    if _is_whole(high) and lowest is not None and high - 1 < lowest < high - _LEAST_STEP:
        schema = {**schema, "exclusiveMaximum": high - _LEAST_STEP}
    return schema


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _is_whole(number: float | None) -> TypeGuard[float]:
    return number is not None and abs(number) < 2**53 and number == int(number)


def _child_pointers(node: Any, pointer: str) -> Iterator[str]:
    """The pointers of the schemas directly inside the one at `pointer`, and of the one that it refers to."""
    if not isinstance(node, dict):
        return
    if isinstance(node.get("$ref"), str) and node["$ref"].startswith("#/"):
        yield unquote(node["$ref"][1:])
    for key in (*_SCHEMAS_BY_NAME, *_BRANCHES, *_SUBSCHEMAS):
        value = node.get(key)
        if key in _SCHEMAS_BY_NAME and isinstance(value, dict):
            yield from (f"{pointer}/{key}/{escaped(name)}" for name in value)
        elif isinstance(value, list):
            yield from (f"{pointer}/{key}/{position}" for position in range(len(value)))
        elif isinstance(value, dict):
            yield f"{pointer}/{key}"
