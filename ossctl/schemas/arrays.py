"""Keywords of arrays in terms that grammars hold."""

import itertools
from collections.abc import Iterator
from typing import Any

from ossctl.schemas.part import Part, all_of, is_free

_MAX_ARRAYS = 400  # that are listed one by one
_MAX_NEEDED = 16  # items that `contains` puts in front
_OTHERS = ("allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "if", "contains", "dependentSchemas")


def relax_array(part: Part) -> None:
    """Add what a grammar holds of the keywords of arrays."""
    _items(part)
    if "contains" in part.node:
        _contain(part)
    if part.node.get("uniqueItems") is True:
        _make_unique(part)
    if part.node.get("unevaluatedItems", True) is not True:
        _close(part)


def _items(part: Part) -> None:
    node, made = part.node, part.made
    for key in ("minItems", "maxItems"):
        if key in node:
            made[key] = part.count(key, 0)
    places = "items" if isinstance(node.get("items"), list) else "prefixItems"
    if part.listed(places):
        made["prefixItems"] = [part.child(places, index) for index in range(len(node[places]))]
    if places == "items" and "additionalItems" in node:
        made["items"] = part.child("additionalItems")
    elif "items" in node and places == "prefixItems":
        made["items"] = part.child("items")


def _contain(part: Part) -> None:
    """The items that an array has to contain are its first ones."""
    least = part.count("minContains", 1)
    wanted = part.child("contains")
    part.made["minItems"] = max(part.made.get("minItems", 0), least)
    holds = "prefixItems" not in part.made and least <= _MAX_NEEDED
    if holds and least and not is_free(wanted):
        part.made["prefixItems"] = [all_of((part.made.get("items", True), wanted))] * least
    if "maxContains" in part.node:
        part.leave_out("maxContains")
    if not holds:
        part.leave_out("contains")


def _make_unique(part: Part) -> None:
    """Arrays of a few known values are listed; of others, only the length is limited."""
    values = _values(part.resolved(part.node.get("items")))
    made = part.made
    least, most = made.get("minItems", 0), made.get("maxItems")
    if most is not None and most < 2:
        return
    if values is None or "prefixItems" in made:
        part.leave_out("uniqueItems")
        return
    made["maxItems"] = min(len(values), len(values) if most is None else most)
    arrays = list(itertools.islice(_arrays(values, least, made["maxItems"]), _MAX_ARRAYS + 1))
    if len(arrays) > _MAX_ARRAYS or part.node.get("type") != "array":
        part.leave_out("uniqueItems")
        return
    for key in ("items", "minItems", "maxItems"):
        made.pop(key, None)
    made["enum"] = arrays


def _values(items: Any) -> list[Any] | None:
    """All values that `items` allows, if these are few and simple."""
    if not isinstance(items, dict):
        return None
    if items.get("type") == "boolean" and "enum" not in items:
        return [False, True]
    values = [items["const"]] if "const" in items else items.get("enum")
    if not isinstance(values, list) or not all(
        isinstance(value, str | int | bool | None) for value in values
    ):
        return None
    return list({(type(value), value): value for value in values}.values())


def _arrays(values: list[Any], least: int, most: int) -> Iterator[list[Any]]:
    for length in range(least, most + 1):
        yield from map(list, itertools.permutations(values, length))


def _close(part: Part) -> None:
    """Without other schemas for the same value, unevaluated items are those without a schema."""
    if not any(key in part.node for key in _OTHERS):
        part.made.setdefault("items", part.child("unevaluatedItems"))
    else:
        part.leave_out("unevaluatedItems")
