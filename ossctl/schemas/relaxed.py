"""JSON schemas as near to themselves as a grammar can hold them.

A grammar holds types, values, bounds, lengths, properties, items, references and unions. Other keywords are
put into these terms where that is possible, and left out otherwise: they are checked in the finished answer.
Forms of older drafts become those of 2020-12.
"""

from dataclasses import dataclass
from typing import Any

from ossctl.schemas.arrays import relax_array
from ossctl.schemas.objects import relax_object
from ossctl.schemas.part import Part
from ossctl.schemas.patterns import held_pattern
from ossctl.schemas.references import REFERENCES, References, subschemas
from ossctl.schemas.values import HELD_FORMATS, relax_conditions, relax_value

# A schema without any of these is held as it is.
_RELAXED = frozenset(
    [
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$id",
        "$recursiveAnchor",
        "$recursiveRef",
        "$schema",
        "additionalItems",
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "discriminator",
        "else",
        "id",
        "if",
        "maxContains",
        "maxProperties",
        "minContains",
        "minProperties",
        "not",
        "nullable",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    ]
)
_WITHOUT_SIBLINGS = tuple(f"json-schema.org/draft-0{number}/" for number in (3, 4, 6, 7))


@dataclass(frozen=True)
class Relaxed:
    """A schema for a grammar. `unheld` says which keywords were left out, and where."""

    schema: Any
    unheld: tuple[str, ...] = ()


def relaxed(schema: Any) -> Relaxed:
    """`schema` itself if a grammar can hold all of it, else the nearest to it.

    Raises ValueError for a reference that leads nowhere.
    """
    references = References(schema)
    if broken := references.broken():
        raise ValueError(f"the reference {broken[:80]!r} leads to nothing in the schema")
    if not _needs_relaxing(schema):
        return Relaxed(schema)
    relaxing = _Relaxing(schema, references)
    return Relaxed(relaxing.run(), tuple(relaxing.unheld))


class _Relaxing:
    """Relaxes one schema. What is referred to becomes a definition of its own."""

    def __init__(self, root: Any, references: References) -> None:
        self._root = root
        self._references = references
        self._names: dict[str, str] = {}  # of definitions, by pointer
        self._waiting: list[str] = []  # pointers of definitions that are not made
        draft = str(root.get("$schema", ""))
        self._siblings = not any(older in draft for older in _WITHOUT_SIBLINGS)
        self._nullable = "$schema" not in root
        self.unheld: dict[str, None] = {}

    def run(self) -> Any:
        made = self._schema(self._root, "")
        definitions = {}
        while self._waiting:
            pointer = self._waiting.pop()
            definitions[self._names[pointer]] = self._schema(self._references.at(pointer), pointer)
        made = {"allOf": [made]} if isinstance(made, bool) else made
        return {**made, "$defs": definitions} if definitions else made

    def _schema(self, node: Any, pointer: str) -> Any:
        if not isinstance(node, dict):
            return node
        part = Part(node, pointer, self._references, self._schema, self.unheld)
        reference = next((key for key in REFERENCES if key in node), None)
        if reference is not None and not self._siblings:
            return self._reference(node, node[reference])
        relax_value(part)
        if reference is not None:
            part.made.update(self._reference(node, node[reference]))
        self._unions(part)
        relax_object(part)
        relax_array(part)
        relax_conditions(part)
        if self._nullable and node.get("nullable") is True:  # as in OpenAPI
            return {"anyOf": [part.made, {"type": "null"}]}
        return part.made

    def _unions(self, part: Part) -> None:
        node, made = part.node, part.made
        for key in ("allOf", "anyOf", "oneOf"):
            if key in node:
                made[key] = [part.child(key, index) for index in range(len(part.listed(key)))]
        tag = part.mapping("discriminator").get("propertyName")
        for key in ("anyOf", "oneOf"):
            if isinstance(tag, str) and key in made:  # OpenAPI: it has to be there
                made[key] = [{"allOf": [branch, {"required": [tag]}]} for branch in made[key]]

    def _reference(self, node: dict[str, Any], reference: Any) -> dict[str, Any]:
        pointer = self._references.target(node)
        if pointer is None:  # to a metaschema
            self.unheld[f"$ref to {reference}"] = None
            return {"type": ["object", "boolean"]}
        if not pointer:
            return {"$ref": "#"}
        if pointer not in self._names:
            self._names[pointer] = self._name(pointer)
            self._waiting.append(pointer)
        return {"$ref": f"#/$defs/{self._names[pointer]}"}

    def _name(self, pointer: str) -> str:
        """A new name for a definition, its own one if that is plain."""
        name = pointer.rpartition("/")[2]
        plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
        taken = set(self._names.values())
        return name if plain and name not in taken else f"part-{len(taken)}"


def _needs_relaxing(schema: Any) -> bool:
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict) and (not _RELAXED.isdisjoint(node) or _is_odd(node)):
            return True
        stack += [child for _, child in subschemas(node)]
    return False


def _is_odd(node: dict[str, Any]) -> bool:
    """Whether keywords that grammars hold have a form that they don't."""
    reference = node.get("$ref")
    patterns = [node.get("pattern"), *_mapping(node.get("patternProperties"))]
    return (
        isinstance(node.get("items"), list)
        or any(isinstance(node.get(key), bool) for key in ("exclusiveMinimum", "exclusiveMaximum"))
        or (isinstance(node.get("format"), str) and node["format"] not in HELD_FORMATS)
        or any(isinstance(node.get(key), float) for key in ("minLength", "maxLength", "minItems", "maxItems"))
        or (isinstance(reference, str) and not reference.startswith("#"))
        or any(held_pattern(pattern) != (pattern, True) for pattern in patterns if isinstance(pattern, str))
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
