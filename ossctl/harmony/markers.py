"""Harmony's control tokens, looked up by their text in a model's vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

_NAMES = ("start", "channel", "constrain", "message", "end", "call", "return")
TEXTS = tuple(f"<|{name}|>" for name in _NAMES)


class Tokenizer(Protocol):
    """The part of a model's vocabulary that Harmony needs."""

    @property
    def special_ids(self) -> frozenset[int]: ...
    def id_of(self, marker: str) -> int | None: ...
    def tokenize(self, text: str) -> list[int]: ...
    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]: ...
    def piece(self, token: int) -> bytes: ...


@dataclass(frozen=True)
class Markers:
    """Token ids of the markers. `done` is `<|return|>`, which ends a turn; `end` only ends a message."""

    start: int
    channel: int
    constrain: int
    message: int
    end: int
    call: int
    done: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self | None:
        """The markers of a vocabulary; None if any is missing."""
        ids = [tokenizer.id_of(text) for text in TEXTS]
        known = [token for token in ids if token is not None]
        return cls(*known) if len(known) == len(TEXTS) else None

    @property
    def names(self) -> Mapping[int, str]:
        """The text of each marker, by token id."""
        return {token: f"<|{'return' if name == 'done' else name}|>" for name, token in vars(self).items()}
