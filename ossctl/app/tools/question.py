"""What a call is shown as when the user is asked about it."""

import json
import re

import msgspec

from ossctl.app.tools.arguments import program_input
from ossctl.dialect import ToolCall

_MAX_LINE = 70  # characters of a call that is shown on one line


def call_text(call: ToolCall) -> str:
    """The question about a call: its name, and the JSON that its program gets.

    Characters that are invisible or control a terminal are spelt as JSON escapes, which mean the same.
    """
    arguments = program_input(call)
    if len(call.name) + len(arguments) > _MAX_LINE:
        arguments = msgspec.json.format(arguments, indent=2)
    return f"Run {call.name}({visible(arguments)})?"


def visible(text: str) -> str:
    """`text` with JSON escapes for all but printable characters and newlines."""
    return re.sub(r"[^\n]", lambda found: found[0] if found[0].isprintable() else _escape(found[0]), text)


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"
