"""Tells a model its schema, in the words that Hermes models are trained on and many prompts use."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from ossctl.dialect import JsonFormat, Message

_INSTRUCTIONS = ("system", "developer")


def schema_note(json_format: JsonFormat) -> str:
    """What the model reads about the format of its answer."""
    if not json_format.schema.keys() - {"type"}:
        return "Answer in JSON."
    about = f" {json_format.description}" if json_format.description else ""
    schema = msgspec.json.encode(json_format.schema).decode()
    intro = f"Answer in JSON.{about}\nHere's the json schema you must adhere to:"
    return f"{intro}\n<schema>\n{schema}\n</schema>"


def with_system_note(messages: Sequence[Message], note: str) -> tuple[Message, ...]:
    """`messages` with a note at the end of the system message, or in one of its own."""
    first, *others = messages
    if first.role in _INSTRUCTIONS:
        return (replace(first, content=f"{first.content}\n\n{note}"), *others)
    return (Message("system", note), *messages)


def with_user_note(messages: Sequence[Message], note: str) -> tuple[Message, ...]:
    """`messages` with a note before the text of the user's last one."""
    changed = list(messages)
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            changed[index] = replace(messages[index], content=f"{note}\n\n{messages[index].content}")
            break
    return tuple(changed)
