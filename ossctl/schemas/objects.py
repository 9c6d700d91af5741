"""Keywords of objects in terms that grammars hold."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from ossctl.schemas.part import Part, keywords_of
from ossctl.schemas.patterns import held_pattern

_MAX_CHOICES = 24  # of properties that are present or absent
_MAX_DEPENDENCIES = 6
_OTHERS = ("allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "if", "dependentSchemas")
_NAMING = ("properties", "patternProperties")


def relax_object(part: Part) -> None:
    """Add what a grammar holds of the keywords of objects."""
    _properties(part)
    if "propertyNames" in part.node:
        _restrict_names(part)
    dependencies = list(_dependencies(part))
    for absent, wanted in dependencies[:_MAX_DEPENDENCIES]:
        part.also({"anyOf": [{"properties": {absent: False}}, wanted]})
    if len(dependencies) > _MAX_DEPENDENCIES:
        part.leave_out("dependentRequired", "dependentSchemas")
    _count(part)
    if "unevaluatedProperties" in part.node:
        _limit_others(part)


def _properties(part: Part) -> None:
    node, made = part.node, part.made
    if "required" in node:
        made["required"] = node["required"]
    if "properties" in node:
        made["properties"] = {name: part.child("properties", name) for name in part.mapping("properties")}
    if "patternProperties" in node:
        made["patternProperties"] = patterns = {}
        for pattern in part.mapping("patternProperties"):
            held, exact = held_pattern(pattern)
            patterns[held] = part.child("patternProperties", pattern)
            if not exact:
                part.leave_out("patternProperties")
                patterns[held] = patterns[held] if node.get("additionalProperties", False) is False else True
    if "additionalProperties" in node:
        made["additionalProperties"] = part.child("additionalProperties")


def _limit_others(part: Part) -> None:
    """Without other schemas for the same value, unevaluated properties are the additional ones."""
    unevaluated = part.node["unevaluatedProperties"]
    if not any(key in part.node for key in _OTHERS):
        part.made.setdefault("additionalProperties", part.child("unevaluatedProperties"))
    elif not isinstance(unevaluated, bool):  # objects are closed anyway
        part.leave_out("unevaluatedProperties")


def _restrict_names(part: Part) -> None:
    rule, made = part.resolved(part.node["propertyNames"]), part.made
    if rule is False:
        rule = {"enum": []}
    keywords = keywords_of(rule) if isinstance(rule, dict) else set()
    types = rule.get("type", "string") if isinstance(rule, dict) else "string"
    if "string" not in ([types] if isinstance(types, str) else types):
        rule, keywords = {"enum": []}, {"enum"}
    if not keywords - {"type"}:
        return
    others = made.get("additionalProperties", True)
    if any(made.get(key) for key in _NAMING):
        part.leave_out("propertyNames")
    elif keywords <= {"type", "const", "enum"}:
        names = [rule["const"]] if "const" in rule else rule["enum"]
        made["properties"] = {name: others for name in names if isinstance(name, str)}
        made["additionalProperties"] = False
    else:
        _match_names(part, rule, keywords)


def _match_names(part: Part, rule: dict[str, Any], keywords: set[str]) -> None:
    others = part.made.get("additionalProperties", True)
    lengths = keywords & {"minLength", "maxLength"}
    if isinstance(rule.get("pattern"), str):
        pattern, exact = held_pattern(rule["pattern"])
    elif lengths:
        least, most = int(rule.get("minLength", 0)), rule.get("maxLength")
        pattern, exact = rf"^[\s\S]{{{least},{'' if most is None else int(most)}}}$", True
        lengths = set()
    else:
        part.leave_out("propertyNames")
        return
    if not exact or lengths or keywords - {"type", "pattern", "minLength", "maxLength"}:
        part.leave_out("propertyNames")
    part.made["patternProperties"] = {pattern: others}
    part.made["additionalProperties"] = False


def _dependencies(part: Part) -> Iterator[tuple[str, Any]]:
    """What has to hold where a property is present."""
    for key in ("dependentRequired", "dependentSchemas", "dependencies"):
        for name, wanted in part.mapping(key).items():
            if isinstance(wanted, list):
                if wanted:
                    yield name, {"required": wanted}
            elif wanted is not True:
                yield name, part.child(key, name)


def _count(part: Part) -> None:
    """How many of the optional properties there are, as a choice between sets of them."""
    node, made = part.node, part.made
    names, required = list(part.mapping("properties")), set(part.listed("required"))
    for key in ("minProperties", "maxProperties"):
        if key in node:
            made[key] = part.count(key, 0)
    optional = [name for name in names if name not in required]
    if not optional or "patternProperties" in node or node.get("additionalProperties", False) is not False:
        return
    n_required = len(required | set(names)) - len(optional)
    if (least := made.get("minProperties", 0)) <= n_required + len(optional):
        made.pop("minProperties", None)
        _choose(part, optional, least - n_required, "minProperties")
    if (most := made.pop("maxProperties", None)) is not None:
        _choose(part, optional, most - n_required, "maxProperties")


def _choose(part: Part, optional: list[str], count: int, keyword: str) -> None:
    """At least or at most `count` of the `optional` properties are present."""
    fewest = keyword == "minProperties"
    if count <= 0 if fewest else count >= len(optional):
        return
    if count < 0 or count > len(optional):
        part.also(False)
    elif math.comb(len(optional), count) > _MAX_CHOICES:
        part.leave_out(keyword)
    else:
        chosen = itertools.combinations(optional, count)
        part.also({"anyOf": [_having(optional, some, fewest=fewest) for some in chosen]})


def _having(optional: list[str], some: tuple[str, ...], *, fewest: bool) -> dict[str, Any]:
    if fewest:
        return {"required": list(some)}
    return {"properties": {name: False for name in optional if name not in some}}
