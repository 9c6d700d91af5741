"""References inside one JSON schema: by pointer, by anchor, by id, and dynamic ones."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urljoin

BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
SINGLE = (
    "items",
    "additionalItems",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
)

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
METASCHEMAS = ("http://json-schema.org/", "https://json-schema.org/")  # these are known
_DEFINITIONS = ("$defs/", "definitions/")

_Place = tuple[str, str]  # the URI of a schema with an id, and the name of an anchor in it


class References:
    """Finds what the references in `root` mean, as JSON pointers into it."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._bases: dict[int, str] = {}  # the URI around each node, by the node's identity
        self._places: dict[_Place, str] = {("", ""): ""}
        self._dynamic: dict[_Place, str] = {}
        stack = [(root, "", "")]
        while stack:
            node, pointer, base = stack.pop()
            base = self._register(node, pointer, base)
            stack += [(child, f"{pointer}/{step}", base) for step, child in subschemas(node)]

    def target(self, node: dict[str, Any]) -> str | None:
        """Where the reference of `node` leads; None if it leads out of the schema."""
        if "$recursiveRef" in node:
            return self._recursive(node)
        if "$ref" in node:
            return self._static(node, node["$ref"])
        found = self._static(node, node["$dynamicRef"])
        anchor = str(node["$dynamicRef"]).partition("#")[2]
        if found is None or found not in self._dynamic.values():
            return found
        outermost = (pointer for (_, name), pointer in self._dynamic.items() if name == anchor)
        return min(outermost, key=len, default=found)

    def broken(self) -> str:
        """The first reference to nothing in what `root` uses, "" if there is none."""
        nodes, seen = [self._root], {""}
        while nodes:
            node = nodes.pop()
            nodes += [child for step, child in subschemas(node) if not step.startswith(_DEFINITIONS)]
            for key in REFERENCES if isinstance(node, dict) else ():
                pointer = self.target(node) if key in node else ""
                if pointer is None and not str(node[key]).startswith(METASCHEMAS):
                    return str(node[key])
                if pointer is not None and pointer not in seen:
                    seen.add(pointer)
                    nodes.append(self.at(pointer))
        return ""

    def at(self, pointer: str) -> Any:
        """The part of the schema at a pointer; None if there is none."""
        return part_at(self._root, pointer)

    def _register(self, node: dict[str, Any], pointer: str, base: str) -> str:
        """Record the id and the anchors of a node, and return the URI that holds inside it."""
        given = node.get("$id", node.get("id"))
        if isinstance(given, str) and given.startswith("#"):  # an anchor, in older drafts
            self._places.setdefault((base, given[1:]), pointer)
        elif isinstance(given, str) and "$ref" not in node:
            base = urljoin(base, given).partition("#")[0]
            self._places.setdefault((base, ""), pointer)
            if not pointer:
                self._places["", ""] = ""
        for key, places in (("$anchor", [self._places]), ("$dynamicAnchor", [self._places, self._dynamic])):
            if isinstance(node.get(key), str):
                for named in places:
                    named.setdefault((base, node[key]), pointer)
        self._bases[id(node)] = base
        return base

    def _static(self, node: dict[str, Any], reference: Any) -> str | None:
        if not isinstance(reference, str):
            return None
        uri, _, fragment = reference.partition("#")
        base = self._bases.get(id(node), "")
        base = urljoin(base, uri) if uri else base
        fragment = unquote(fragment)
        if not fragment.startswith("/"):
            return self._places.get((base, fragment))
        start = self._places.get((base, ""))
        pointer = None if start is None else start + fragment
        return pointer if pointer is not None and isinstance(self.at(pointer), dict | bool) else None

    def _recursive(self, node: dict[str, Any]) -> str:
        own = self._places.get((self._bases.get(id(node), ""), ""), "")
        return "" if self.at(own).get("$recursiveAnchor") is True else own


def subschemas(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas directly inside `node`, with their pointers from there. Booleans are left out."""
    if not isinstance(node, dict):
        return
    for key in BY_NAME:
        if isinstance(node.get(key), dict):
            parts = node[key].items()
            yield from ((f"{key}/{escaped(name)}", part) for name, part in parts if isinstance(part, dict))
    for key in LISTS:
        if isinstance(node.get(key), list):
            parts = enumerate(node[key])
            yield from ((f"{key}/{index}", part) for index, part in parts if isinstance(part, dict))
    yield from ((key, node[key]) for key in SINGLE if isinstance(node.get(key), dict))


def part_at(schema: Any, pointer: str) -> Any:
    """The part of `schema` at a JSON pointer; None if there is none."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, list):
            schema = schema[int(name)] if name.isdecimal() and int(name) < len(schema) else None
        else:
            schema = schema.get(name) if isinstance(schema, dict) else None
    return schema


def escaped(name: str) -> str:
    """A name as a step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
