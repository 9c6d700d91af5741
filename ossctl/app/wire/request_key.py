"""Identifies requests, so that a resumed batch recognises what it has answered.

Fields with their default value do not count, so a field that is added later changes no key.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from hashlib import blake2b
from typing import Any

import msgspec

_VERSION_1 = {
    "Conversation": (
        "messages", "tools", "tool_choice", "json_format", "effort", "date", "max_reasoning_tokens"
    ),
    "Message": ("role", "content", "reasoning", "calls", "tool", "token_ids"),
    "ToolCall": ("name", "arguments"),
    "Tool": ("name", "description", "parameters", "strict"),
    "ToolChoice": ("mode", "name"),
    "JsonFormat": ("schema", "name", "description"),
    "Sampling": ("temperature", "top_k", "top_p", "min_p", "seed", "logit_bias", "logprobs"),
}  # fmt: skip


@dataclass(frozen=True)
class RequestKey:
    """What identifies a request: `contents`, of dataclasses and JSON values, and `max_tokens`.

    A line that is not a request has only `raw`, its content.
    """

    contents: tuple[Any, ...] = ()
    max_tokens: int | None = None
    raw: bytes = b""

    @property
    def answer(self) -> bytes:
        """The key of its answer. It leaves out `max_tokens`: an answer that ended earlier is the same."""
        return self.raw or _hash(_plain(self.contents, _changed_fields))

    @property
    def failure(self) -> bytes:
        """The key of its failure, for which `max_tokens` may be the reason."""
        return self.raw or _hash([self.max_tokens, *_plain(self.contents, _changed_fields)])

    def version_1(self, max_tokens: int | None) -> bytes:
        """The key of either in version 1, with this limit; empty if version 1 had no such request."""
        if self.raw:
            return self.raw
        conversation, *others = self.contents
        try:
            return _hash(_plain((conversation, max_tokens, *others), _fields_of_version_1))
        except KeyError:
            return b""


def _hash(contents: object) -> bytes:
    return blake2b(msgspec.json.encode(contents), digest_size=16).digest()


def _plain(value: Any, names: Callable[[Any], Iterable[str]]) -> Any:
    """`value` with dataclasses as objects of the fields in `names`, which gets the dataclass."""
    if is_dataclass(value):
        return {name: _plain(getattr(value, name), names) for name in names(value)}
    if isinstance(value, tuple):
        return [_plain(each, names) for each in value]
    return value


def _changed_fields(value: Any) -> list[str]:
    return [name for name, default in _defaults(value.__class__) if getattr(value, name) != default]


def _fields_of_version_1(value: Any) -> Iterable[str]:
    """Raises KeyError if the value of another field matters."""
    names = _VERSION_1[type(value).__name__]
    if any(name not in names for name in _changed_fields(value)):
        raise KeyError(type(value).__name__)
    return names


@functools.cache
def _defaults(kind: type) -> tuple[tuple[str, Any], ...]:
    """The sorted fields of a dataclass, each with its default or MISSING; lines have the same few kinds."""
    return tuple(
        (each.name, each.default if each.default_factory is MISSING else each.default_factory())
        for each in sorted(fields(kind), key=lambda each: each.name)
    )
