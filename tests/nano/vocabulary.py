"""nano's vocabulary: the words of Harmony itself, then those of the questions and answers."""

import functools
from collections.abc import Iterator

from nano.corpus import template_words
from nano.tokenizer import NanoTokenizer, build
from ossctl.dialect import Conversation, JsonFormat, Message, Tool, ToolCall
from ossctl.harmony.layout import lay_out

_SIZE = 1_792

_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "description": "."}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@functools.cache
def vocabulary() -> NanoTokenizer:
    return build([*format_words(), *template_words()], _SIZE)


def format_words() -> Iterator[str]:
    """Texts of the format, most important first: roles, channels, system and developer messages."""
    yield from ("assistant", "user", "analysis", "commentary to=functions. ", "final", "json", "system")
    yield from ("developer", "functions.", " to=assistant")
    yield from ('{"', '":"', '","', '":', ',"', '"}', "}", '{"":"')
    tools = (Tool("get", "Gets.", _SCHEMA), Tool("look"))
    call = ToolCall("get", '{"name":"","age":1}')
    messages = (Message("system", "Be."), Message("user", "?"), Message("assistant", "", calls=(call,)))
    for effort in ("low", "medium", "high"):
        conversation = Conversation(messages, tools, json_format=JsonFormat(_SCHEMA, "person"), effort=effort)
        for message in lay_out(conversation, lambda _kept: []):
            yield message.content
