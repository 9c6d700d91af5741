"""Messages in, events out: what a model family's format has to offer to the rest.

A dialect turns messages into token ids and token ids back into events. It is chosen from the model's
own metadata, never by its name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "developer", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One message of a conversation, the same for every command."""

    role: Role
    content: str
    reasoning: str = ""


@dataclass(frozen=True)
class Reasoning:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True)
class Answer:
    """A piece of the answer."""

    text: str


Event = Reasoning | Answer


class Parser(Protocol):
    """Turns one answer's token ids into events, as they come. Never raises on what a model writes."""

    @property
    def thinking(self) -> bool:
        """Whether the answer has not begun, but reasoning has."""

    def feed(self, token: int) -> Sequence[Event]:
        """Take the next token; return what it completes."""

    def close(self) -> Sequence[Event]:
        """The answer has ended: return what was held back."""


class Dialect(Protocol):
    """The two directions of a format. Both are called from one thread at a time."""

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the prompt that asks for the assistant's next message.

        Raises RequestError if the format has no place for these messages.
        """

    def parser(self, prompt: Sequence[int]) -> Parser:
        """A parser for the answer to `prompt`, which may have opened the reasoning already."""
