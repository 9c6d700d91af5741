"""Messages in, events out: the interface between a model family's chat format and the rest of the program.

A dialect renders messages to token ids and parses token ids into events. The model's metadata decides
which dialect it gets, never its name.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ossctl.guide import Grammar, GrammarCompiler, Guide, TextFormat

Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["low", "medium", "high"]
Think = Literal["on", "off"]
NativeTool = Literal["python", "browser"]
Schema = Mapping[str, Any]  # a JSON schema


@dataclass(frozen=True)
class ToolCall:
    """A function call, as part of a message and as an event.

    `arguments` is the model's own text, which need not be valid JSON. A call that was `cut` off is not run.
    """

    name: str
    arguments: str
    cut: bool = False


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    An assistant message with calls is not the end of its turn: its `content` is the preamble to the calls.
    In a tool message, `tool` names the function which returned `content`. `token_ids` are the tokens the
    model generated for this message; a model with the same vocabulary gets them instead of the text.
    """

    role: Role
    content: str
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    tool: str = ""
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A function that the model may call. If `parameters` is None, it takes none.

    The arguments of every call of a `strict` function fit its parameters. A format that was trained with a
    tool like `native` has its own way to declare it and to write its calls; for others it is a function.
    """

    name: str
    description: str = ""
    parameters: Schema | None = None
    strict: bool = False
    native: NativeTool | None = None


@dataclass(frozen=True)
class ToolChoice:
    """Whether an answer must call a function, may or must not; `name` restricts it to one function."""

    mode: Literal["none", "auto", "required"] = "auto"
    name: str = ""


@dataclass(frozen=True)
class JsonFormat:
    """The answer must be JSON that matches `schema`."""

    schema: Schema
    name: str = "json_object"
    description: str = ""


@dataclass(frozen=True)
class Conversation:
    """Everything an answer depends on, except for the sampling.

    The answer has a `json_format` or a `text_format` or neither. If `effort` is None, the model's default
    holds. `date` is the current date given to the model. `max_reasoning_tokens` limits the reasoning; the
    answer follows. `think` switches the reasoning; None leaves it as it is. `template_variables` are JSON
    values for further variables of the model's chat template.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    json_format: JsonFormat | None = None
    effort: Effort | None = None
    date: dt.date | None = None
    max_reasoning_tokens: int | None = None
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    text_format: TextFormat | None = None
    think: Think | None = None

    @property
    def formatted(self) -> bool:
        """Whether the answer must have a format."""
        return self.json_format is not None or self.text_format is not None

    def format_grammar(self, grammars: GrammarCompiler) -> Grammar | None:
        """The grammar of the format, None if there is none. Raises RequestError."""
        if self.text_format is not None:
            return grammars.text(self.text_format)
        if self.json_format is not None:
            return grammars.json(self.json_format.schema, "response_format.json_schema.schema")
        return None


@dataclass(frozen=True)
class Reasoning:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True)
class Preamble:
    """A piece of text for the user that comes before calls or more reasoning."""

    text: str


@dataclass(frozen=True)
class Answer:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Recovered:
    """The model broke its format, as `what` describes. The other events still contain all of its text."""

    what: str


Event = Reasoning | Preamble | Answer | ToolCall | Recovered


def content_of(preamble: Iterable[str], answer: Iterable[str]) -> str:
    """The visible text of an answer: the preamble, if there is one, then the answer."""
    return "\n\n".join(filter(None, ("".join(preamble), "".join(answer))))


def stable_tokens(tokenize: Callable[[str], list[int]], text: str) -> list[int]:
    """Token ids of `text` that stay the same when another word follows.

    The last token of a text may merge with the next character, so this compares two continuations.
    """
    one, other = tokenize(f"{text}a"), tokenize(f"{text}b")
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (token, its) in pairs if token != its), min(len(one), len(other)))]


class Parser(Protocol):
    """Turns the token ids of one answer into events, as they arrive. Accepts anything a model can write."""

    @property
    def reasoning_tokens(self) -> int:
        """Number of tokens so far that are reasoning, or open or close it."""

    @property
    def answering(self) -> bool:
        """Whether the latest token may be text of the answer."""

    def feed(self, token: int) -> Sequence[Event]:
        """Take the next token; return the events that it completes."""

    def close(self, *, cut: bool) -> Sequence[Event]:
        """End the answer, which may have been `cut` short; return the events held back until now."""


class Dialect(Protocol):
    """A chat format, in both directions. `render` and `render_prefix` may be called from any thread."""

    @property
    def default_effort(self) -> Effort | None:
        """The effort of a conversation that sets none. None if the format has no effort."""

    @property
    def reasoning_settings(self) -> frozenset[str]:
        """Those of `effort`, `max_reasoning_tokens` and `think` that a conversation may set."""

    @property
    def takes_tools(self) -> bool:
        """Whether a conversation may have tools."""

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""

    def render(self, conversation: Conversation) -> list[int]:
        """Token ids of the prompt for the assistant's next message.

        Raises RequestError, which names the field, if the format cannot express something.
        """

    def render_prefix(self, conversation: Conversation, draft: str = "") -> list[int]:
        """Token ids that prompts share if they continue `conversation` with a user message.

        The user message starts with `draft`. Without a draft, the messages may be any that do not start with
        whitespace; with one, the rest has to start with a new word. A prefix only saves time: prompts which
        diverge earlier are prefilled from there. `conversation` may have no messages.

        Raises RequestError as `render` does.
        """

    def parser(self, prompt: Sequence[int], conversation: Conversation) -> Parser:
        """A parser for the answer to `prompt`, rendered from `conversation`.

        The prompt may already have opened the reasoning.
        """

    def guide(self, conversation: Conversation, prompt: Sequence[int]) -> Guide | None:
        """A guide that holds the answer to the conversation's format, tools and budget; None if it is free.

        Raises RequestError for a format that cannot be enforced.
        """
