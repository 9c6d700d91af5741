"""Laying out a conversation as Harmony messages, with their order and headers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import takewhile

import msgspec

from ossctl.dialect import Conversation, Effort, JsonFormat, Message
from ossctl.errors import RequestError
from ossctl.harmony.typescript import Namespace, tools_section

# The reference renderer's defaults for the released models.
IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
KNOWLEDGE_CUTOFF = "2024-06"
DEFAULT_EFFORT: Effort = "medium"
CHANNELS = "# Valid channels: analysis, commentary, final. Channel must be included for every message."
CALLS = "Calls to these tools must go to the commentary channel: 'functions'."

FUNCTIONS = "functions"
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

    `token_ids`, if the model generated the message, are its tokens after the author and replace the rest.
    """

    author: str
    content: str
    channel: str = ""
    recipient: str = ""
    content_type: str = ""
    token_ids: tuple[int, ...] = ()


Split = Callable[[Message], Sequence[HarmonyMessage]]


def lay_out(conversation: Conversation, split: Split) -> Iterator[HarmonyMessage]:
    """All messages of the prompt, system message included.

    `split` turns the token ids of an earlier answer into messages; none if its text has to be rendered.
    """
    messages = conversation.messages
    offered = conversation.tools if conversation.tool_choice.mode != "none" else ()
    functions = (Namespace(FUNCTIONS, tools=offered),) if offered else ()
    effort, identity = conversation.effort or DEFAULT_EFFORT, _identity(conversation)
    about = system_text(effort, conversation.date, has_functions=bool(functions), identity=identity)
    yield HarmonyMessage("system", about)
    first = list(takewhile(lambda message: message.role in _INSTRUCTIONS, messages))
    instructions = "\n\n".join(message.content for message in first)
    if text := developer_text(instructions, functions, conversation.json_format):
        yield HarmonyMessage("developer", text)
    unfinished = unfinished_turn(messages)
    for position, message in enumerate(messages[len(first) :], len(first)):
        yield from _message(message, split, keep_reasoning=position >= unfinished)


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


def _message(message: Message, split: Split, *, keep_reasoning: bool) -> Iterator[HarmonyMessage]:
    if message.role == "assistant":
        for written in (split(message), _assistant(message)):
            parts = [part for part in written if keep_reasoning or part.channel != "analysis"]
            if parts:
                yield from parts
                break
    elif message.role == "tool":
        author = f"{FUNCTIONS}.{message.tool}"
        yield HarmonyMessage(author, message.content, "commentary", recipient="assistant")
    elif message.role in _INSTRUCTIONS:
        yield HarmonyMessage("developer", developer_text(message.content))
    else:
        yield HarmonyMessage(message.role, message.content)


def _assistant(message: Message) -> Iterator[HarmonyMessage]:
    if message.reasoning:
        yield HarmonyMessage("assistant", message.reasoning, "analysis")
    if not message.calls:
        yield HarmonyMessage("assistant", message.content, "final")
        return
    if message.content:
        yield HarmonyMessage("assistant", message.content, "commentary")
    for call in message.calls:
        recipient = f"{FUNCTIONS}.{call.name}"
        yield HarmonyMessage("assistant", call.arguments, "commentary", recipient, JSON)
