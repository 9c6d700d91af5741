"""Harmony's control tokens, found by their spelling in a model's vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

_NAMES = ("start", "channel", "constrain", "message", "end", "call", "return")
TEXTS = tuple(f"<|{name}|>" for name in _NAMES)


class Tokenizer(Protocol):
    """A vocabulary that text goes into and comes out of."""

    @property
    def special_ids(self) -> frozenset[int]: ...
    def id_of(self, marker: str) -> int | None: ...
    def tokenize(self, text: str) -> list[int]: ...
    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]: ...
    def piece(self, token: int) -> bytes: ...


@dataclass(frozen=True)
class Markers:
    """Token ids of the format. `done` is `<|return|>`, the end of a turn; `end` that of a message."""

    start: int
    channel: int
    constrain: int
    message: int
    end: int
    call: int
    done: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self | None:
        """The markers of a vocabulary; None if it is not one of Harmony's."""
        ids = [tokenizer.id_of(text) for text in TEXTS]
        known = [token for token in ids if token is not None]
        return cls(*known) if len(known) == len(TEXTS) else None

    @property
    def names(self) -> Mapping[int, str]:
        """The spelling of each."""
        return {token: f"<|{'return' if name == 'done' else name}|>" for name, token in vars(self).items()}
