"""Keywords of any value, of strings and numbers, and conditions, in terms that grammars hold."""

from collections.abc import Sequence
from typing import Any

from ossctl.schemas.part import Part, all_of, is_free, keywords_of
from ossctl.schemas.patterns import held_pattern

_TYPES = ("null", "boolean", "number", "string", "array", "object")
_COPIED = ("type", "enum", "const", "multipleOf")
_BOUNDS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))

# `format` is an annotation. llguidance holds these.
HELD_FORMATS = frozenset(
    ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"]
)


def relax_value(part: Part) -> None:
    """Add what a grammar holds of the keywords of strings, numbers and any value."""
    node, made = part.node, part.made
    made.update({key: node[key] for key in _COPIED if key in node})
    for key in ("minLength", "maxLength"):
        if key in node:
            made[key] = part.count(key, 0)
    if node.get("format") in HELD_FORMATS:
        made["format"] = node["format"]
    if isinstance(node.get("pattern"), str):
        made["pattern"], exact = held_pattern(node["pattern"])
        if not exact:
            part.leave_out("pattern")
    for included, excluded in _BOUNDS:
        if node.get(excluded) is True and included in node:  # as in draft 4
            made[excluded] = node[included]
        else:
            made.update({key: node[key] for key in (included, excluded) if key in node})
        if isinstance(made.get(excluded), bool):
            del made[excluded]


def relax_conditions(part: Part) -> None:
    """Add what a grammar holds of `not` and of `if`."""
    if "not" in part.node:
        _refuse(part)
    if "if" in part.node and ("then" in part.node or "else" in part.node):
        _decide(part)


def _refuse(part: Part) -> None:
    made, refused = part.made, part.resolved(part.node["not"])
    if isinstance(refused, bool) or refused == {}:
        if refused is not False:
            part.also(False)
        return
    keywords = keywords_of(refused) if isinstance(refused, dict) else set()
    if keywords == {"type"}:
        _refuse_types(part, refused["type"])
    elif keywords in ({"enum"}, {"const"}) and isinstance(made.get("enum"), list):
        values = [refused["const"]] if "const" in refused else refused["enum"]
        made["enum"] = _others(made["enum"], values)
    elif keywords == {"required"} and refused["required"]:
        absent = [{"properties": {name: False}} for name in refused["required"]]
        part.also({"type": "object", "anyOf": absent})
    else:
        part.leave_out("not")


def _refuse_types(part: Part, refused: str | list[str]) -> None:
    types = [refused] if isinstance(refused, str) else list(refused)
    own = part.made.get("type", list(_TYPES))
    own = [own] if isinstance(own, str) else own
    types += ["integer"] if "number" in types else []
    part.made["type"] = [name for name in own if name not in types]
    if "integer" in types and "number" in part.made["type"]:
        part.leave_out("not")
    if not part.made["type"]:
        del part.made["type"]
        part.also(False)


def _decide(part: Part) -> None:
    """Either the condition and what follows from it, or the rest."""
    condition, otherwise = part.child("if"), part.child("else")
    negated = _negated(part)
    if negated is None:
        part.leave_out("if")
        if is_free(otherwise):
            return
    branches = [all_of((condition, part.child("then"))), all_of((negated or True, otherwise))]
    part.also({"anyOf": branches})


def _negated(part: Part) -> Any:
    """The opposite of `if`, if it is about one property whose values are known; else None."""
    condition = part.resolved(part.node["if"])
    if not isinstance(condition, dict) or not keywords_of(condition) <= {"properties", "required", "type"}:
        return None
    required, properties = condition.get("required", []), condition.get("properties", {})
    if len(required) == 1 and not properties:
        return {"properties": {required[0]: False}}
    if len(properties) != 1 or not set(required) <= set(properties):
        return None
    ((name, rule),) = properties.items()
    own = part.property(name)
    refused, values = _values(rule), _values(own)
    if refused is None or values is None:
        return None
    others = {"properties": {name: {"enum": _others(values, refused)}}}
    return others if required else {**others, "required": [name]}


def _values(schema: Any) -> list[Any] | None:
    if not isinstance(schema, dict):
        return None
    if "const" in schema:
        return [schema["const"]]
    if schema.get("type") == "boolean" and "enum" not in schema:
        return [False, True]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _others(values: Sequence[Any], refused: Sequence[Any]) -> list[Any]:
    def same(a: Any, b: Any) -> bool:
        return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)

    return [value for value in values if not any(same(value, other) for other in refused)]
