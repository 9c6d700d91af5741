"""One part of a JSON schema on its way into a grammar."""

from collections.abc import Callable, Iterable
from typing import Any

from ossctl.schemas.references import References, escaped

ANNOTATIONS = frozenset(
    [
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "$comment",
    ]
)


class Part:
    """The schema `node`, which is at `pointer`; `made` becomes what the grammar gets for it."""

    def __init__(
        self,
        node: dict[str, Any],
        pointer: str,
        references: References,
        relax: Callable[[Any, str], Any],
        unheld: dict[str, None],
    ) -> None:
        self.node = node
        self.pointer = pointer
        self.made: dict[str, Any] = {}
        self._references = references
        self._relax = relax
        self._unheld = unheld

    def child(self, *steps: str | int) -> Any:
        """The relaxed schema at `steps` from here; True if there is none."""
        node: Any = self.node
        for step in steps:
            node = node[step] if isinstance(step, int) else node.get(step, True)
        pointer = "".join(f"/{escaped(str(step))}" for step in steps)
        return self._relax(node, self.pointer + pointer)

    def leave_out(self, *keywords: str) -> None:
        """Note keywords that the grammar does not hold."""
        self._unheld.update(dict.fromkeys(f"{keyword} at {self.pointer or '/'}" for keyword in keywords))

    def also(self, schema: Any) -> None:
        """Require another schema of the same value."""
        if schema is not True and schema != {}:
            self.made["allOf"] = [*self.made.get("allOf", []), schema]

    def resolved(self, node: Any) -> Any:
        """What `node` says after following its references, if it is nothing but one."""
        for _ in range(16):
            if not isinstance(node, dict) or keywords_of(node) != {"$ref"}:
                break
            pointer = self._references.target(node)
            node = None if pointer is None else self._references.at(pointer)
        return node

    def property(self, name: str) -> Any:
        """The schema of a property here, or where this is one of several conditions (`allOf`)."""
        outer, key, _ = self.pointer.rpartition("/allOf/")
        nodes = [self.node, *([self._references.at(outer)] if key else [])]
        found = (node["properties"].get(name) for node in nodes if isinstance(node.get("properties"), dict))
        return self.resolved(next((schema for schema in found if schema is not None), None))

    def mapping(self, key: str) -> dict[str, Any]:
        """A keyword's value that should be an object, {} if it is not."""
        value = self.node.get(key)
        return value if isinstance(value, dict) else {}

    def listed(self, key: str) -> list[Any]:
        """A keyword's value that should be a list, [] if it is not."""
        value = self.node.get(key)
        return value if isinstance(value, list) else []

    def count(self, key: str, default: int) -> int:
        """A keyword's value that should be a count."""
        value = self.node.get(key)
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def keywords_of(node: dict[str, Any]) -> set[str]:
    """The keywords of a schema that constrain something."""
    return {key for key in node if key not in ANNOTATIONS and not key.startswith("x-")}


def all_of(schemas: Iterable[Any]) -> Any:
    """A schema for what fits all of `schemas`."""
    parts = [schema for schema in schemas if schema is not True and schema != {}]
    return {"allOf": parts} if len(parts) > 1 else next(iter(parts), True)


def is_free(schema: Any) -> bool:
    """Whether everything fits."""
    return schema is True or schema == {}
