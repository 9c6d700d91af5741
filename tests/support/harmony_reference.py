"""OpenAI's own renderer and parser of Harmony, and random conversations and answers to compare by."""

import base64
import hashlib
import json
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import openai_harmony as oh
import pytest
from hypothesis import strategies as st

from ossctl.dialect import Conversation, Effort, Message, Tool, ToolCall, ToolChoice
from ossctl.harmony.typescript import Namespace

# Of o200k_base.tiktoken, as openai-harmony itself expects it.
_VOCABULARY_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
_N_RANKS = 199_998
_ABOVE = ("system", "developer")


class Reference:
    """OpenAI's package openai-harmony."""

    def __init__(self, folder: Path) -> None:
        """Load it; the vocabulary that it wants to download is written to `folder`."""
        pieces = _pieces()
        lines = b"".join(b"%s %d\n" % (base64.b64encode(piece), rank) for rank, piece in enumerate(pieces))
        if hashlib.sha256(lines).hexdigest() != _VOCABULARY_SHA256:
            raise ValueError("this is not the vocabulary of o200k_base")
        (folder / "o200k_base.tiktoken").write_bytes(lines)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIKTOKEN_ENCODINGS_BASE", str(folder))
            self._encoding = oh.load_harmony_encoding(oh.HarmonyEncodingName.HARMONY_GPT_OSS)
        self._bytes = {piece: rank for rank, piece in enumerate(pieces) if len(piece) == 1}

    def prompt(self, messages: Sequence[oh.Message], *, drop: bool = False) -> list[int]:
        """The prompt for the next answer; with `drop`, less the analysis that the reference drops."""
        config = oh.RenderConversationConfig(auto_drop_analysis=drop)
        conversation = oh.Conversation.from_messages(messages)
        return list(
            self._encoding.render_conversation_for_completion(conversation, oh.Role.ASSISTANT, config)
        )

    def parse(self, answer: Sequence[int], *, strict: bool = True) -> list[oh.Message]:
        """The messages of an answer."""
        parse = self._encoding.parse_messages_from_completion_tokens
        return list(parse(answer, oh.Role.ASSISTANT, strict=strict))

    def encode(self, text: str) -> list[int]:
        """The text's tokens, none of them a control token."""
        return list(self._encoding.encode(text, disallowed_special=()))

    def single_bytes(self, text: str) -> list[int]:
        """The text as a token for every byte, which is not how it is encoded."""
        return [self._bytes[bytes([byte])] for byte in text.encode()]

    def written(self, text: str) -> list[int]:
        """The tokens of text with control tokens in it."""
        return list(self._encoding.encode(text, allowed_special="all"))

    def text(self, ids: Sequence[int]) -> str:
        """Control tokens come as they are spelt."""
        return str(self._encoding.decode_utf8(ids))


def _pieces() -> list[bytes]:
    with warnings.catch_warnings(action="ignore"):
        import bpe_openai

        encoding = bpe_openai.get_encoding("o200k_base")
    return [encoding.decode_single_token_bytes(rank) for rank in range(_N_RANKS)]


def system(conversation: Conversation, *builtins: str) -> oh.Message:
    """The system message, with built-in tools by name."""
    content = oh.SystemContent.new()
    content.reasoning_effort = oh.ReasoningEffort((conversation.effort or "medium").capitalize())
    if conversation.date is not None:
        content.conversation_start_date = str(conversation.date)
    for name in builtins:
        content = content.with_tools(getattr(oh.ToolNamespaceConfig, name)())
    for tool in conversation.tools:
        if tool.native == "python":
            python = oh.ToolNamespaceConfig(name="python", description=tool.description, tools=[])
            content = content.with_tools(python)
        elif tool.native == "browser":
            content = content.with_browser_tool()
    return oh.Message.from_role_and_content(oh.Role.SYSTEM, content)


def builtin(name: str) -> Namespace:
    """A tool that the models were trained with, in our terms."""
    config = getattr(oh.ToolNamespaceConfig, name)()
    tools = tuple(Tool(tool.name, tool.description, tool.parameters) for tool in config.tools)
    return Namespace(config.name, config.description, tools)


def developer(instructions: str, tools: Sequence[Tool] = ()) -> oh.Message:
    content = oh.DeveloperContent(instructions=instructions or None)
    if tools:
        described = [oh.ToolDescription.new(tool.name, tool.description, tool.parameters) for tool in tools]
        content = content.with_function_tools(described)
    return oh.Message.from_role_and_content(oh.Role.DEVELOPER, content)


def asked(text: str) -> oh.Message:
    return oh.Message.from_role_and_content(oh.Role.USER, text)


def said(channel: str, text: str) -> oh.Message:
    return oh.Message.from_role_and_content(oh.Role.ASSISTANT, text).with_channel(channel)


def called(
    recipient: str, text: str, channel: str = "commentary", content_type: str = "<|constrain|>json"
) -> oh.Message:
    return said(channel, text).with_recipient(recipient).with_content_type(content_type)


def returned(tool: str, text: str, channel: str = "commentary") -> oh.Message:
    message = oh.Message.from_author_and_content(oh.Author.new(oh.Role.TOOL, tool), text)
    return message.with_channel(channel).with_recipient("assistant")


def as_reference(conversation: Conversation) -> list[oh.Message]:
    """A conversation in the reference's terms, with all of its analysis."""
    messages = list(conversation.messages)
    above = 0
    while above < len(messages) and messages[above].role in _ABOVE:
        above += 1
    instructions = "\n\n".join(message.content for message in messages[:above])
    tools = [tool for tool in conversation.tools if tool.native is None]
    first = [developer(instructions, tools)] if instructions or tools else []
    native = {tool.name for tool in conversation.tools if tool.native is not None}
    rest = [part for message in messages[above:] for part in _parts(message, native)]
    return [system(conversation), *first, *rest]


def _parts(message: Message, native: Collection[str]) -> Iterator[oh.Message]:
    if message.role == "user":
        yield asked(message.content)
    elif message.role == "tool":
        if message.tool in native:
            yield returned(NATIVE[message.tool], message.content, "analysis")
        else:
            yield returned(f"functions.{message.tool}", message.content)
    elif message.role in _ABOVE:
        yield developer(message.content)
    else:
        if message.reasoning:
            yield said("analysis", message.reasoning)
        if not message.calls:
            yield said("final", message.content)
        elif message.content:
            yield said("commentary", message.content)
        for call in message.calls:
            if call.name in native:
                text = json.loads(call.arguments)["code"] if call.name == "python" else call.arguments
                yield called(NATIVE[call.name], text, "analysis", "code")
            else:
                yield called(f"functions.{call.name}", call.arguments)


# Recipients of the tools that the models were trained with, by our names.
NATIVE = {
    "python": "python",
    "browser_search": "browser.search",
    "browser_open": "browser.open",
    "browser_find": "browser.find",
}
CODE = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
BROWSER = tuple(Tool(name, native="browser") for name in NATIVE if name != "python")


def python_tool(description: str = "Runs code.") -> Tool:
    return Tool("python", description, CODE, native="python")


def finals(messages: Sequence[oh.Message]) -> list[int]:
    """Where turns end."""
    return [at for at, message in enumerate(messages) if message.channel == "final"]


def without_finished_analysis(messages: Sequence[oh.Message]) -> list[oh.Message]:
    """What its documentation asks for: once a final message has ended a turn, the turn's analysis goes."""
    last = max(finals(messages), default=0)
    return [message for at, message in enumerate(messages) if at > last or message.channel != "analysis"]


def one_finished_turn(messages: Sequence[oh.Message]) -> bool:
    """Whether the reference drops what its documentation says."""
    assistants = [message for message in messages if message.author.role == oh.Role.ASSISTANT]
    return len(finals(messages)) == 1 and assistants[-1].channel == "final"


# What tokenizers, formats and splits into lines stumble over.
_FRAGMENTS = (
    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>", "<|return|>"),
    *("<|", "|>", "<|start|", "start|>", "<|endoftext|>", "<|reserved_200014|>", "<|endofprompt|>"),
    *("assistant", "analysis", "final", "commentary", "user", "system", " to=functions.f", "json"),
    *(" ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\v", "\x00", "\x1c", "\x7f", "\x85", "\xa0", "\u2028"),
    *("\u3000", "\u200b", "\ufeff", "\u202e", "\ufffd", "\ue000", "\U0010ffff", "'\u017f", "é", "\u02b0"),
    *("a", "B", "Word", " word", "CamelCase", "HTTPServer", "don't", "I'LL", "we'd", "naïve", "Мир", "мИР"),
    *("0", "7", "12", "345", "6789", "٤٢", "①", "½", "-1.5e10", "// ", "/*", "/\n", '"', "\\", "{", "}"),
    *("[1, 2]", "...", "!?", " | null", "null", "שלום", "مرحبا", "日本語", "テスト", "안녕", "ß", "ﬁ"),
    *("😀", "👍🏽", "👨\u200d👩\u200d👧", "❤\ufe0f", "1\ufe0f\u20e3", "【6†L9】", "Ñ", "ÉCOLE", "ǅ"),
    *("हिन्दी", "สวัสดี", "வணக்கம்", "ভাষা", "e\u0301", "\u0301", "A\u0301b"),
)

# Unassigned characters are left out: the reference and the package regex know different versions of Unicode.
_characters = st.characters(exclude_categories=["Cs", "Cn"])
texts = st.lists(st.sampled_from(_FRAGMENTS) | _characters, max_size=4).map("".join)


def _decimal(digits: int, exponent: int) -> float:
    return float(f"{digits}e{exponent}")


# The reference takes larger integers for floats, and reads floats of many digits a bit wrong.
_numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.builds(_decimal, st.integers(-(10**15), 10**15), st.integers(-15, 7))
    | st.sampled_from([0.0, -0.0, 1e15, 1e16, 1e-5, 1e-6, 1.5e21, 1e300, 5e-324, 2.0**63])
)
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)

# A schema may hold anything anywhere.
_odd: st.SearchStrategy[Any] = st.sampled_from([None, True, False, 0, 1, "", "same", [], [None], {}]) | texts


@st.composite
def _mostly(draw: st.DrawFn, usual: st.SearchStrategy[Any]) -> Any:
    return draw(_odd if draw(st.integers(0, 9)) == 9 else usual)


_types = st.sampled_from(
    ["string", "string", "number", "integer", "boolean", "object", "array", "null", "file"]
)
_kinds = _types | st.lists(_mostly(_types), max_size=3)
_keys = st.sampled_from(["a", "b", "city", "two_words", "Öl", "$id"])
_notes = st.fixed_dictionaries(
    {},
    optional={
        "title": _mostly(texts),
        "description": _mostly(st.sampled_from(["same", "same", "other"]) | texts),
        "default": texts | _values,
        "examples": _mostly(st.lists(texts | _values, max_size=2)),
        "nullable": _mostly(st.booleans()),
        "enum": _mostly(st.lists(texts | _values, max_size=3)),
    },
)


@st.composite
def _schemas(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    """Schemas of all that the reference's renderer tells apart, and of what it does not expect."""
    inner = _mostly(_schemas(depth - 1)) if depth > 1 else st.just({"type": "string"})
    shape = draw(st.sampled_from(["object", "one of", "array", "plain"]))
    schema: dict[str, Any] = {}
    if shape != "one of" or draw(st.booleans()):
        schema["type"] = shape if shape in ("object", "array") else draw(_mostly(_kinds))
    if shape == "object":
        schema["properties"] = draw(_mostly(st.dictionaries(_keys, inner, min_size=1, max_size=3)))
        schema["required"] = draw(_mostly(st.lists(_mostly(_keys), max_size=3)))
    elif shape == "array" and draw(st.booleans()):
        schema["items"] = draw(inner)
    elif shape == "one of":
        schema["oneOf"] = draw(_mostly(st.lists(inner, max_size=3)))
    return {**schema, **draw(_notes)}


def _well_told(value: Any) -> Any:
    """A schema, changed to one that the reference writes as right TypeScript."""
    if isinstance(value, str):
        return re.sub(r"[\r\n]", " ", value)
    if isinstance(value, list):
        return [_well_told(item) for item in value]
    if not isinstance(value, dict):
        return value
    schema = {_well_told(key): _well_told(item) for key, item in value.items()}
    _tell_type(schema)
    if isinstance(values := schema.get("enum"), list):
        plain = [re.sub(r'["\\\x00-\x1f]', "", value) for value in values if isinstance(value, str)]
        schema["enum"] = plain if schema.get("type") == "string" else []
    if "null" in repr(schema):
        schema.pop("nullable", None)
    items = schema.get("items")
    if isinstance(items, dict) and items.keys() & {"oneOf", "nullable", "enum"}:
        schema["items"] = {"type": "string"}
    elif isinstance(items, dict) and isinstance(items.get("type"), list):
        schema["items"] = {"type": items["type"][:1]}
    return schema


def _tell_type(schema: dict[str, Any]) -> None:
    kind = schema.get("type")
    if isinstance(kind, str) and kind not in _types_of_reference:
        schema["type"] = "boolean"
    elif isinstance(kind, list):
        schema["type"] = ["string" if name == "array" else name for name in kind]
    if not isinstance(kind, str):
        schema.pop("properties", None)
        schema.pop("items", None)


_types_of_reference = ("string", "number", "integer", "boolean", "object", "array")
_names = st.sampled_from(["f", "get_weather", "Search-2", "assistant", "end"])
tools = st.builds(Tool, _names, texts, _schemas().map(_well_told))
_some_tools = st.lists(tools | st.builds(Tool, _names, texts), max_size=2, unique_by=lambda tool: tool.name)
_choices = st.sampled_from([ToolChoice(), ToolChoice("none"), ToolChoice("required")])
_efforts: st.SearchStrategy[Effort | None] = st.sampled_from([None, "low", "medium", "high"])
_instructions = st.builds(Message, st.sampled_from(_ABOVE), texts)


_arguments = st.builds(json.dumps, _values, ensure_ascii=st.booleans())
_python_code = st.builds(lambda code: json.dumps({"code": code}), texts)


@st.composite
def conversations(draw: st.DrawFn, *, native: bool = False) -> Conversation:
    """Turns with calls and without, finished, interrupted and running, as a client may send them."""
    messages = draw(st.lists(_instructions, max_size=2))
    for _ in range(draw(st.integers(1, 3))):
        messages += [Message("user", draw(texts)) for _ in range(draw(st.integers(1, 2)))]
        for _ in range(draw(st.integers(0, 2))):
            messages += _step(draw, native=native)
        if draw(st.booleans()):
            messages.append(Message("assistant", draw(texts), draw(texts)))
        if draw(st.integers(0, 9)) == 0:
            messages.append(draw(_instructions))
    today = draw(st.none() | st.dates())
    tools = draw(_some_tools)
    if native and draw(st.booleans()):
        tools.append(python_tool(draw(texts)))
    if native and draw(st.booleans()):
        tools += BROWSER
    return Conversation(tuple(messages), tuple(tools), draw(_choices), effort=draw(_efforts), date=today)


def _step(draw: st.DrawFn, *, native: bool) -> list[Message]:
    """Reasoning, a word to the user, calls and their results."""
    names = draw(st.lists(_names | st.sampled_from([*NATIVE] if native else ["f"]), min_size=1, max_size=2))
    calls = tuple(
        ToolCall(name, draw(_python_code if name == "python" else texts | _arguments)) for name in names
    )
    results = [Message("tool", draw(texts), tool=name) for name in names]
    return [Message("assistant", draw(texts), draw(texts), calls), *results]


@dataclass(frozen=True)
class Written:
    """A message as a model writes it. `header` is what stands before `<|message|>`.

    `cuts` say, again and again, how many characters make tokens of their own, and whether each of their
    bytes does. `stray` are tokens behind the text, whatever their bytes.
    """

    header: str
    text: str
    end: str
    cuts: Sequence[tuple[int, bool]]
    stray: Sequence[int] = ()

    def ids(self, reference: Reference) -> list[int]:
        ids = reference.written(f"{self.header}<|message|>")
        start = 0
        for length, in_bytes in cycle(self.cuts):
            stretch = self.text[start : start + length]
            if not stretch:
                break
            ids += reference.single_bytes(stretch) if in_bytes else reference.encode(stretch)
            start += length
        return [*ids, *self.stray, *reference.written(self.end)]


def answer_ids(answer: Sequence[Written], reference: Reference) -> list[int]:
    """What the model writes after `<|start|>assistant`."""
    opening = reference.written("<|start|>assistant")
    ids = [token for message in answer for token in (*opening, *message.ids(reference))]
    return ids[len(opening) :]


CALL_HEADERS = (
    " to={}<|channel|>commentary",
    " to={}<|channel|>commentary <|constrain|>json",
    "<|channel|>commentary to={}",
    "<|channel|>commentary to={} json",
    "<|channel|>commentary to={} <|constrain|>json",
    "<|channel|>commentary to={}<|constrain|>json",
)
_cuts = st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=4)
_stray = st.lists(st.integers(0, _N_RANKS - 1), max_size=3)
_recipients = _names.map("functions.{}".format)


def _messages(header: str, end: str) -> st.SearchStrategy[Written]:
    return st.builds(Written, st.just(header), texts, st.just(end), _cuts, _stray)


_function_calls = st.builds(
    Written,
    st.builds(str.format, st.sampled_from(CALL_HEADERS), _recipients),
    _arguments,
    st.just("<|call|>"),
    _cuts,
)
_builtin_calls = _messages("<|channel|>analysis to=python code", "<|call|>")
_before = st.lists(
    _messages("<|channel|>analysis", "<|end|>")
    | _messages("<|channel|>commentary", "<|end|>")
    | _function_calls
    | _builtin_calls,
    max_size=3,
)
_finals = _messages("<|channel|>final", "<|return|>")

finished_answers = st.builds(lambda before, last: [*before, last], _before, _finals)
unfinished_answers = st.builds(lambda before, last: [*before, last], _before, _function_calls)


def assert_references_tokens(prompt: Sequence[int], conversation: Conversation, reference: Reference) -> None:
    """`prompt` is the reference's, with the reasoning of finished turns dropped as its documentation says."""
    messages = as_reference(conversation)
    assert prompt == reference.prompt(without_finished_analysis(messages))
    if one_finished_turn(messages):  # all that its own `drop` handles as documented
        assert prompt == reference.prompt(messages, drop=True)
