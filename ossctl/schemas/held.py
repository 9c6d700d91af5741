"""What a grammar's compiler gets of a JSON schema, found by trying."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ossctl.schemas.closed import closed, find_culprit
from ossctl.schemas.patterns import is_checkable
from ossctl.schemas.references import part_at
from ossctl.schemas.relaxed import relaxed
from ossctl.schemas.validator import check_schema

_MAX_STEPS = 64
_UNSATISFIABLE = "Unsatisfiable"
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_COUNTS = ("minProperties", "maxProperties")


@dataclass(frozen=True)
class Held:
    """A schema that compiles. `unheld` says what the grammar does not hold of the original, and where."""

    schema: Any
    unheld: tuple[str, ...]


def hold(schema: Any, error_of: Callable[[Any], str]) -> Held:
    """The nearest to `schema` for which `error_of`, a compiler, has no error.

    Raises ValueError for what is no JSON schema, and for one that nothing can satisfy.
    """
    check_schema(schema)
    start = relaxed(schema)
    loosened, unheld = start.schema, dict.fromkeys(start.unheld)
    for _ in range(_MAX_STEPS):
        for candidate in (closed(loosened), loosened):  # open if it is not satisfiable when closed
            error = error_of(candidate)
            if not error:
                return Held(candidate, tuple(unheld))
        pointer = find_culprit(loosened, functools.partial(_fails, error_of, error))
        node = part_at(loosened, pointer)
        if not isinstance(node, dict) or ("regex" in error and _has_broken_pattern(node)):
            break
        left_out, replacement = _loosened(node, error)
        if not left_out and error.startswith(_UNSATISFIABLE):
            break
        unheld.update(dict.fromkeys(f"{keyword} at {pointer or '/'}" for keyword in left_out))
        loosened = _replaced(loosened, pointer, replacement)
    raise ValueError(f"{f'at {pointer}: ' if pointer else ''}{error}")


def _fails(error_of: Callable[[Any], str], error: str, part: Any) -> bool:
    return error_of(part) == error


def _loosened(node: dict[str, Any], error: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """`node` without what the compiler cannot hold, and the keywords of that."""
    for keywords, rule in _RULES:
        if any(keyword in node for keyword in keywords):
            looser = rule(node, error)
            if looser is not None:
                return tuple(key for key in keywords if key in node), looser
    if error.startswith(_UNSATISFIABLE):
        return (), node
    kept = {key: value for key, value in node.items() if key in ("type", "$defs")}
    return tuple(key for key in node if key not in kept), kept


def _has_broken_pattern(node: dict[str, Any]) -> bool:
    """Whether a pattern could not be checked in the answer either."""
    patterns = (*([node["pattern"]] if "pattern" in node else ()), *node.get("patternProperties", ()))
    return not all(map(is_checkable, patterns))


def _without(node: dict[str, Any], *keywords: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in keywords}


def _any_pattern(node: dict[str, Any], error: str) -> dict[str, Any] | None:
    return _without(node, "pattern") if "regex" in error and _UNSATISFIABLE not in error else None


def _any_name(node: dict[str, Any], error: str) -> dict[str, Any] | None:
    """Overlapping patterns of names as one pattern, and any name if a pattern is not held."""
    patterns = node["patternProperties"]
    if "not disjoint" in error and len(patterns) > 1:
        joined = "|".join(f"(?:{pattern})" for pattern in patterns)
        return {**node, "patternProperties": {joined: {"anyOf": list(patterns.values())}}}
    if "regex" in error and _UNSATISFIABLE not in error:
        return {**_without(node, "patternProperties"), "additionalProperties": True}
    return None


def _any_branch(node: dict[str, Any], error: str) -> dict[str, Any] | None:
    if "oneOf" not in error:
        return None
    if "anyOf" not in node:
        return {**_without(node, "oneOf"), "anyOf": node["oneOf"]}
    return {**_without(node, "oneOf"), "allOf": [*node.get("allOf", []), {"anyOf": node["oneOf"]}]}


def _any_count(node: dict[str, Any], error: str) -> dict[str, Any] | None:
    return _without(node, *_COUNTS) if "maxProperties" in error else None


def _any_number(node: dict[str, Any], error: str) -> dict[str, Any] | None:
    return _without(node, *_BOUNDS) if "range" in error else None


def _any_format(node: dict[str, Any], error: str) -> dict[str, Any] | None:
    return _without(node, "format") if "ormat" in error or "Regex is empty" in error else None


_RULES = (
    (("pattern",), _any_pattern),
    (("patternProperties",), _any_name),
    (("oneOf",), _any_branch),
    (_COUNTS, _any_count),
    (_BOUNDS, _any_number),
    (("format",), _any_format),
)


def _replaced(schema: Any, pointer: str, node: Any) -> Any:
    """A copy of `schema` with `node` at a pointer."""
    if not pointer:
        return node
    schema = copy.deepcopy(schema)
    parent, _, step = pointer.rpartition("/")
    name = step.replace("~1", "/").replace("~0", "~")
    around = part_at(schema, parent)
    around[int(name) if isinstance(around, list) else name] = node
    return schema
