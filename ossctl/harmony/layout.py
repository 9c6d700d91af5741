"""Laying out a conversation as Harmony messages, with their order and headers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import takewhile

import msgspec

from ossctl.dialect import Conversation, Effort, JsonFormat, Message
from ossctl.errors import RequestError
from ossctl.harmony.native_tools import CODE, FUNCTIONS, Recipients, native_namespaces
from ossctl.harmony.typescript import Namespace, tools_section

# The reference renderer's defaults for the released models.
IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
KNOWLEDGE_CUTOFF = "2024-06"
DEFAULT_EFFORT: Effort = "medium"
CHANNELS = "# Valid channels: analysis, commentary, final. Channel must be included for every message."
CALLS = "Calls to these tools must go to the commentary channel: 'functions'."

JSON = "<|constrain|>json"

_INSTRUCTIONS = ("system", "developer")

# Variables of chat templates that ask for what gpt-oss does anyway.
_NEUTRAL_VARIABLES: tuple[tuple[str, object], ...] = (
    ("enable_thinking", True),
    ("thinking", True),
    ("builtin_tools", []),
)


@dataclass(frozen=True)
class HarmonyMessage:
    """One message of a prompt. `author` is a role or a tool's name; empty fields are left out.

    `token_ids`, if the model generated the message, are its tokens after the author and replace the rest in
    the prompt.
    """

    author: str
    content: str
    channel: str = ""
    recipient: str = ""
    content_type: str = ""
    token_ids: tuple[int, ...] = ()


Split = Callable[[Message, Recipients], Sequence[HarmonyMessage]]


def lay_out(conversation: Conversation, split: Split) -> Iterator[HarmonyMessage]:
    """All messages of the prompt, system message included.

    `split` turns the token ids of an earlier answer into messages; none if its text has to be rendered.
    """
    messages = conversation.messages
    tools = conversation.tools  # also if no call is allowed now: the prefix stays as it was
    ordinary = tuple(tool for tool in tools if tool.native is None)
    functions = (Namespace(FUNCTIONS, tools=ordinary),) if ordinary else ()
    yield HarmonyMessage(
        "system",
        system_text(
            conversation.effort or DEFAULT_EFFORT,
            conversation.date,
            native_namespaces(tools),
            has_functions=bool(functions),
            identity=_identity(conversation),
        ),
    )
    first = list(takewhile(lambda message: message.role in _INSTRUCTIONS, messages))
    instructions = "\n\n".join(message.content for message in first)
    if text := developer_text(instructions, functions, conversation.json_format):
        yield HarmonyMessage("developer", text)
    unfinished = unfinished_turn(messages)
    turns = _Turns(split, Recipients.of(tools))
    for position, message in enumerate(messages[len(first) :], len(first)):
        yield from turns.message(message, keep_reasoning=position >= unfinished)


def _identity(conversation: Conversation) -> str:
    """The first line of the system message. Raises RequestError for other variables of a chat template."""
    identity = IDENTITY
    if conversation.think is not None:
        raise RequestError("think is not for gpt-oss, which always reasons; use the effort")
    for name, value in conversation.template_variables.items():
        if name == "model_identity" and isinstance(value, str):
            identity = value
        elif (name, value) not in _NEUTRAL_VARIABLES:
            hint = (
                "use reasoning_effort and max_reasoning_tokens"
                if "think" in name
                else "gpt-oss has no such setting"
            )
            raise RequestError(f"chat_template_kwargs.{name} is not supported: {hint}")
    return identity


def system_text(
    effort: Effort,
    today: date | None = None,
    namespaces: tuple[Namespace, ...] = (),
    *,
    has_functions: bool = False,
    identity: str = IDENTITY,
) -> str:
    """Content of the system message. `namespaces` are built-in tools, not functions."""
    about = [identity, f"Knowledge cutoff: {KNOWLEDGE_CUTOFF}"]
    if today is not None:
        about.append(f"Current date: {today.isoformat()}")
    sections = ["\n".join(about), f"Reasoning: {effort}"]
    if namespaces:
        sections.append(tools_section(namespaces))
    sections.append(f"{CHANNELS}\n{CALLS}" if has_functions else CHANNELS)
    return "\n\n".join(sections)


def developer_text(
    instructions: str, namespaces: tuple[Namespace, ...] = (), json_format: JsonFormat | None = None
) -> str:
    """Content of the developer message; may be empty."""
    sections = ["# Instructions", instructions] if instructions else []
    if namespaces:
        sections.append(tools_section(namespaces))
    if json_format is not None:
        comment = "".join(f"// {line}\n" for line in json_format.description.splitlines())
        schema = msgspec.json.encode(json_format.schema).decode()
        sections += ["# Response Formats", f"## {json_format.name}", f"{comment}{schema}"]
    return "\n\n".join(sections)


def unfinished_turn(messages: tuple[Message, ...]) -> int:
    """Index of the first message after the last final answer. From there on, reasoning is kept."""
    for position in range(len(messages) - 1, -1, -1):
        if messages[position].role == "assistant" and not messages[position].calls:
            return position + 1
    return 0


class _Turns:
    """Lays out the messages after the first instructions, one after the other.

    Calls of native tools are part of the reasoning: with their results, they are kept and dropped as it is.
    So does the reference renderer, and docs/format.md of openai-harmony: "The model is able to call tools as
    part of its chain-of-thought", which later turns are rendered without.
    """

    def __init__(self, split: Split, recipients: Recipients) -> None:
        self._split = split
        self._recipients = recipients
        self._channels: dict[str, str] = {}  # of the latest answer's calls, by function

    def message(self, message: Message, *, keep_reasoning: bool) -> Iterator[HarmonyMessage]:
        """One message, as the messages of Harmony that it consists of."""
        if message.role == "assistant":
            yield from self._assistant(message, keep_reasoning=keep_reasoning)
        elif message.role == "tool":
            result = self._result(message)
            if keep_reasoning or result.channel != "analysis":
                yield result
        elif message.role in _INSTRUCTIONS:
            yield HarmonyMessage("developer", developer_text(message.content))
        else:
            yield HarmonyMessage(message.role, message.content)

    def _assistant(self, message: Message, *, keep_reasoning: bool) -> Iterator[HarmonyMessage]:
        for written in (self._split(message, self._recipients), list(self._written(message))):
            parts = [part for part in written if keep_reasoning or part.channel != "analysis"]
            self._channels = {
                self._recipients.function(part.recipient): part.channel
                for part in written
                if part.recipient and part.channel != "final"
            }
            if parts:
                yield from parts
                break

    def _written(self, message: Message) -> Iterator[HarmonyMessage]:
        if message.reasoning:
            yield HarmonyMessage("assistant", message.reasoning, "analysis")
        if not message.calls:
            yield HarmonyMessage("assistant", message.content, "final")
            return
        if message.content:
            yield HarmonyMessage("assistant", message.content, "commentary")
        for call in message.calls:
            content, recipient = self._recipients.content(call), self._recipients.of_call(call.name)
            native = self._recipients.native(call.name)
            content_type = CODE if native else JSON
            yield HarmonyMessage("assistant", content, self._channel(call.name), recipient, content_type)

    def _result(self, message: Message) -> HarmonyMessage:
        """A function's result, in the channel of its call."""
        channel = self._channels.get(message.tool) or self._channel(message.tool)
        author = self._recipients.of_call(message.tool)
        return HarmonyMessage(author, message.content, channel, recipient="assistant")

    def _channel(self, name: str) -> str:
        """The channel where the model is to call a function."""
        return "analysis" if self._recipients.native(name) else "commentary"
