"""The dialect of models with a chat template in their metadata."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from ossctl.dialect import Conversation, Message, stable_tokens
from ossctl.errors import ModelError, RequestError
from ossctl.guide import GrammarCompiler, Guide
from ossctl.templates.environment import TemplateRefusal, chat_environment, rendered
from ossctl.templates.guide import JsonGuide
from ossctl.templates.parser import THINK_END, THINK_START, TemplateParser

# Inserted after the first character of every marker in a message, and removed by splitting there before
# tokenizing. Unicode reserves this code point for internal use.
_BREAK = "\ufdd0"


class PromptTokenizer(Protocol):
    """The vocabulary methods that the dialect needs."""

    @property
    def begin_id(self) -> int | None: ...
    @property
    def begin_text(self) -> str: ...
    @property
    def end_text(self) -> str: ...
    @property
    def end_id(self) -> int: ...
    @property
    def end_ids(self) -> frozenset[int]: ...
    @property
    def control_ids(self) -> frozenset[int]: ...
    @property
    def special_texts(self) -> frozenset[str]: ...
    def tokenize(self, text: str, *, special: bool = False) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...


class TemplateDialect:
    """Renders messages with a Jinja template and parses `<think>…</think>` in answers."""

    def __init__(self, template: str, tokenizer: PromptTokenizer, grammars: GrammarCompiler) -> None:
        """Compile `template`. Raises ModelError if it is not valid Jinja."""
        self._tokenizer = tokenizer
        self._grammars = grammars
        markers = tokenizer.special_texts
        self._marker = _start_of_any(markers)
        self._prefixes = frozenset(marker[:end] for marker in markers for end in range(1, len(marker)))
        self._longest = max(map(len, markers), default=0)
        try:
            self._template = chat_environment().from_string(template)
        except Exception as error:  # noqa: BLE001 (templates are programs: they can fail in any way)
            raise ModelError(f"the model's chat template is broken: {error}") from None

    @property
    def default_effort(self) -> None:
        """Templates have no effort."""

    @property
    def end_ids(self) -> frozenset[int]:
        return self._tokenizer.end_ids

    def render(self, conversation: Conversation) -> list[int]:
        """Text of messages never becomes a control token."""
        _refuse_unsupported(conversation)
        text = self._text(conversation)
        first, *rest = text.split(_BREAK)
        tokens = self._tokenizer.tokenize(first, special=True)
        for part in rest:
            tokens += self._tokenizer.tokenize(part, special=True)
        begin = self._tokenizer.begin_id
        return tokens if begin is None or tokens[:1] == [begin] else [begin, *tokens]

    def render_prefix(self, conversation: Conversation, draft: str = "") -> list[int]:
        """A template may do anything with a message, so this compares the prompts for two of them."""

        def render(text: str) -> list[int]:
            messages = (*conversation.messages, Message("user", text))
            return self.render(replace(conversation, messages=messages))

        return stable_tokens(render, draft)

    def parser(self, prompt: Sequence[int]) -> TemplateParser:
        """A parser for the answer, in its reasoning already if the template ends with `<think>`."""
        opened = self._opens_reasoning(prompt)
        return TemplateParser(self._tokenizer.piece, self._tokenizer.control_ids, thinking=opened)

    def guide(self, conversation: Conversation, prompt: Sequence[int]) -> Guide | None:
        """A guide for a JSON schema. Reasoning that the template has opened is free."""
        if conversation.json_format is None:
            return None
        grammar = self._grammars.json(conversation.json_format.schema, "response_format.json_schema.schema")
        tag = THINK_END.encode() if self._opens_reasoning(prompt) else b""
        return JsonGuide(grammar, self._tokenizer.end_id, self._tokenizer.piece, after=tag)

    def _opens_reasoning(self, prompt: Sequence[int]) -> bool:
        tail = b"".join(map(self._tokenizer.piece, prompt[-16:])).decode("utf-8", "replace")
        thinking = tail.rfind(THINK_START) > tail.rfind(THINK_END)
        return thinking and not tail.rpartition(THINK_START)[2].strip()

    def _text(self, conversation: Conversation) -> str:
        now = datetime.now().astimezone()
        if conversation.date is not None:
            now = datetime.combine(conversation.date, now.timetz())
        try:
            variables = {
                "messages": [self._entry(message) for message in conversation.messages],
                "strftime_now": now.strftime,
                "add_generation_prompt": True,
                "bos_token": self._tokenizer.begin_text,
                "eos_token": self._tokenizer.end_text,
            }
            return rendered(self._template, variables)
        except TemplateRefusal as error:
            raise RequestError(f"the model's chat template refuses these messages: {error}") from None
        except Exception as error:  # noqa: BLE001 (likewise)
            raise RequestError(f"the model's chat template fails on these messages: {error}") from None

    def _entry(self, message: Message) -> dict[str, str]:
        role = "system" if message.role == "developer" else message.role  # most templates know only one
        entry = {"role": role, "content": self._harmless(message.content)}
        if message.reasoning:
            entry["reasoning_content"] = self._harmless(message.reasoning)
        return entry

    def _harmless(self, text: str) -> str:
        """`text` with a break in every marker, including one that starts at its end."""
        text = text.replace(_BREAK, "\ufffd")
        if self._marker is None:
            return text
        parts, start = [], 0
        for match in self._marker.finditer(text):
            parts.append(text[start : match.start() + 1])
            start = match.start() + 1
        for length in range(min(self._longest, len(text) - start), 0, -1):
            if text[-length:] in self._prefixes:  # the next text may complete it
                parts.append(text[start : len(text) - length + 1])
                start = len(text) - length + 1
                break
        return _BREAK.join([*parts, text[start:]])


def _refuse_unsupported(conversation: Conversation) -> None:
    """Raise RequestError for a field that would have no effect."""
    given = {
        "tools": conversation.tools,
        "reasoning_effort": conversation.effort,
        "max_reasoning_tokens": conversation.max_reasoning_tokens is not None,
        "tool_calls": any(message.calls for message in conversation.messages),
        "a message of role tool": any(message.role == "tool" for message in conversation.messages),
    }
    for name, value in given.items():
        if value:
            raise RequestError(f"{name} is supported for gpt-oss only, this model has a chat template")


def _start_of_any(markers: frozenset[str]) -> re.Pattern[str] | None:
    """Matches the start of a marker without consuming it.

    Checks the first character first, because gpt-oss has 1,090 markers.
    """
    if not markers:
        return None
    first = "".join(sorted({re.escape(marker[0]) for marker in markers}))
    return re.compile(f"(?=[{first}])(?={'|'.join(map(re.escape, sorted(markers)))})")
