"""The headers that an answer may have when functions are offered, and the tokens that write them."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ossctl.harmony.native_tools import CODE, PYTHON

Marker = Literal["channel", "constrain", "message"]
End = Literal["end", "call", "done"]

# The channels of text, and the markers that end it.
_CHANNELS: Mapping[str, tuple[End, ...]] = {
    "analysis": ("end",),
    "commentary": ("end", "done"),
    "final": ("done",),
}
_CALL_CHANNELS = ("analysis", "commentary")
_CONTENT_TYPES = ("", " ", " json", " code")  # "" and " " before `<|constrain|>` or `<|message|>`


@dataclass
class Node:
    """A position in a header: a node of a trie over the bytes between two markers.

    `markers` may follow here. After `<|message|>`, content follows, a call of `tool` if that is not empty;
    one of `ends` ends it.
    """

    children: dict[int, "Node"] = field(default_factory=dict)
    markers: dict[Marker, "Node"] = field(default_factory=dict)
    ends: tuple[End, ...] = ()
    tool: str = ""

    def after(self, text: bytes) -> "Node":
        """The position after `text`. Raises KeyError if no header continues with it."""
        node = self
        for byte in text:
            node = node.children[byte]
        return node

    def add(self, text: str) -> "Node":
        """Add `text` and return the position after it."""
        node = self
        for byte in text.encode():
            node = node.children.setdefault(byte, Node())
        return node


def header_trie(tools: Sequence[tuple[str, str]]) -> Node:
    """All headers of answers that may call `tools`, from the end of `<|start|>assistant`.

    `tools` are names of functions and their recipients. The models write the recipient of a call before or
    after the channel. Only what is called as `python` cannot get JSON.
    """
    root = Node()
    channel = root.markers["channel"] = Node()
    for name, ends in _CHANNELS.items():
        channel.add(name).markers["message"] = Node(ends=ends)
    for tool, recipient in tools:
        to = f" to={recipient}"
        after_recipient = root.add(to).markers["channel"] = Node()
        for name in _CALL_CHANNELS:
            for header in (after_recipient.add(name), channel.add(f"{name}{to}")):
                if recipient == PYTHON:
                    _add_code(header, tool)
                else:
                    _add_content_types(header, tool)
    return root


def _add_code(header: Node, tool: str) -> None:
    for text in ("", f" {CODE}"):
        header.add(text).markers["message"] = Node(ends=("call",), tool=tool)


def _add_content_types(header: Node, tool: str) -> None:
    content = Node(ends=("call",), tool=tool)
    constrained = Node()
    for text in ("json", " json"):
        constrained.add(text).markers["message"] = content
    for text in _CONTENT_TYPES:
        node = header.add(text)
        node.markers["message"] = content
        if not text.strip():
            node.markers["constrain"] = constrained


class TokenIndex:
    """Finds the tokens that continue a header."""

    def __init__(self, pieces: Sequence[bytes], special_ids: frozenset[int]) -> None:
        ids: dict[bytes, list[int]] = {}
        for token, piece in enumerate(pieces):
            if piece and token not in special_ids and piece.isascii():  # as all headers are
                ids.setdefault(piece, []).append(token)
        self._ids = ids
        self._sorted = sorted(ids)

    def within(self, node: Node) -> list[int]:
        """The ids of all tokens whose bytes continue a header at `node`."""
        found: list[int] = []
        waiting = [(node, b"")]
        while waiting:
            node, text = waiting.pop()
            for byte, child in node.children.items():
                longer = text + bytes((byte,))
                at = bisect_left(self._sorted, longer)
                if at < len(self._sorted) and self._sorted[at].startswith(longer):
                    found += self._ids.get(longer, ())
                    waiting.append((child, longer))
        return found
