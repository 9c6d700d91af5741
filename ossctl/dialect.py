"""Messages in, events out: what a model family's format has to offer to the rest.

A dialect turns messages into token ids and token ids back into events. It is chosen from the model's
own metadata, never by its name.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ossctl.guide import Guide

Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["low", "medium", "high"]
Schema = Mapping[str, Any]  # a JSON schema


@dataclass(frozen=True)
class ToolCall:
    """A call of a function, in a message and as an event.

    `arguments` is what the model wrote, which need not be valid JSON.
    """

    name: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """One message of a conversation, the same for every command.

    An assistant's message with calls is not its last word: `content` then is what it told the user
    before them. `tool` names the function whose result a tool's message is. `token_ids` are what a model
    generated for this message; a model with the same vocabulary uses them in place of the text.
    """

    role: Role
    content: str
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    tool: str = ""
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A function that the model may call. `parameters` None: it takes none."""

    name: str
    description: str = ""
    parameters: Schema | None = None


@dataclass(frozen=True)
class ToolChoice:
    """Which calls an answer makes: none, as the model likes, one of any function or of the named one."""

    mode: Literal["none", "auto", "required"] = "auto"
    name: str = ""


@dataclass(frozen=True)
class JsonFormat:
    """The answer is JSON that fits `schema`."""

    schema: Schema
    name: str = "json_object"
    description: str = ""


@dataclass(frozen=True)
class Conversation:
    """All that an answer depends on, besides the sampling.

    `effort` None is the model's default. `date` is what the model is told today is. After
    `max_reasoning_tokens` of reasoning the answer begins.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    json_format: JsonFormat | None = None
    effort: Effort | None = None
    date: dt.date | None = None
    max_reasoning_tokens: int | None = None


@dataclass(frozen=True)
class Reasoning:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True)
class Preamble:
    """A piece of what the model tells the user before it goes on working."""

    text: str


@dataclass(frozen=True)
class Answer:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Recovered:
    """The model broke its format; `what` says how. The text is in the other events all the same."""

    what: str


Event = Reasoning | Preamble | Answer | ToolCall | Recovered


def content_of(preamble: Iterable[str], answer: Iterable[str]) -> str:
    """What the user is to see: what the model said before it went on working, then the answer."""
    return "\n\n".join(filter(None, ("".join(preamble), "".join(answer))))


class Parser(Protocol):
    """Turns one answer's token ids into events, as they come. Never raises on what a model writes."""

    @property
    def reasoning_tokens(self) -> int:
        """Tokens so far that are reasoning, or open or close it."""

    @property
    def answering(self) -> bool:
        """Whether the latest token may be text of the answer."""

    def feed(self, token: int) -> Sequence[Event]:
        """Take the next token; return what it completes."""

    def close(self, *, cut: bool) -> Sequence[Event]:
        """The answer has ended, or was `cut` off: return what was held back."""


class Dialect(Protocol):
    """The directions of a format. All are called from one thread at a time."""

    @property
    def default_effort(self) -> Effort | None:
        """The effort of a conversation that names none; None if the format has no such thing."""

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""

    def render(self, conversation: Conversation) -> list[int]:
        """Token ids of the prompt that asks for the assistant's next message.

        Raises RequestError, which names the field, if the format has no place for something.
        """

    def parser(self, prompt: Sequence[int]) -> Parser:
        """A parser for the answer to `prompt`, which may have opened the reasoning already."""

    def guide(self, conversation: Conversation, prompt: Sequence[int]) -> Guide | None:
        """What holds the answer to the conversation's format, tools and budgets; None if nothing has to.

        Raises RequestError for a schema that cannot be enforced.
        """
