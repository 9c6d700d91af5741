"""The dialect of models with a chat template in their metadata."""

import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Protocol

from jinja2.meta import find_undeclared_variables

from ossctl.dialect import Conversation, Message, stable_tokens
from ossctl.errors import ModelError, RequestError
from ossctl.guide import Grammar, GrammarCompiler, Guide
from ossctl.templates.chat_rules import arranged, derive_rules
from ossctl.templates.environment import TemplateRefusal, chat_environment, rendered
from ossctl.templates.guide import GrammarGuide
from ossctl.templates.parser import THINK_END, THINK_START, TemplateParser
from ossctl.templates.probe import Probe
from ossctl.templates.schema_note import schema_note, with_system_note, with_user_note
from ossctl.templates.template_format import ChatRules

# Inserted after the first character of every marker in a message, and removed by splitting there before
# tokenizing. Unicode reserves this code point for internal use.
_BREAK = "\ufdd0"

_EFFORT = "reasoning_effort"

# Variables that callers set for any model: templates of models that always or never reason do not read them.
_SWITCHES = frozenset(
    {"enable_thinking", "thinking", "thinking_budget", "preserve_thinking", "clear_thinking"}
)


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
        self._source = template
        self._tokenizer = tokenizer
        self._grammars = grammars
        markers = tokenizer.special_texts
        self._marker = _start_of_any(markers)
        self._prefixes = frozenset(marker[:end] for marker in markers for end in range(1, len(marker)))
        self._longest = max(map(len, markers), default=0)
        environment = chat_environment()
        try:
            self._template = environment.from_string(template)
            self._reads = frozenset(find_undeclared_variables(environment.parse(template)))
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
        self._refuse_unsupported(conversation)
        text = self._text_with_schema(conversation)
        first, *rest = text.split(_BREAK)
        tokens = self._tokenizer.tokenize(first, special=True)
        for part in rest:
            tokens += self._tokenizer.tokenize(part, special=True)
        begin = self._tokenizer.begin_id
        tokens = tokens if begin is None or tokens[:1] == [begin] else [begin, *tokens]
        self._refuse_unread_switch(conversation, tokens)
        return tokens

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
        """A guide for the answer's format. Reasoning that the template has opened is free."""
        grammar = self._grammar(conversation)
        if grammar is None:
            return None
        tag = THINK_END.encode() if self._opens_reasoning(prompt) else b""
        return GrammarGuide(grammar, self._tokenizer.end_id, self._tokenizer.piece, after=tag)

    def _grammar(self, conversation: Conversation) -> Grammar | None:
        if conversation.text_format is not None:
            return self._grammars.text(conversation.text_format)
        if conversation.json_format is not None:
            return self._grammars.json(conversation.json_format.schema, "response_format.json_schema.schema")
        return None

    def _opens_reasoning(self, prompt: Sequence[int]) -> bool:
        tail = b"".join(map(self._tokenizer.piece, prompt[-16:])).decode("utf-8", "replace")
        thinking = tail.rfind(THINK_START) > tail.rfind(THINK_END)
        return thinking and not tail.rpartition(THINK_START)[2].strip()

    def _text_with_schema(self, conversation: Conversation) -> str:
        """The prompt, with the schema in the system message or, if the template takes none, the user's."""
        form = conversation.json_format
        if form is None:
            return self._text(conversation)
        note = schema_note(form)
        try:
            text = self._text(replace(conversation, messages=with_system_note(conversation.messages, note)))
        except RequestError:
            text = ""
        if self._harmless(note) in text:
            return text
        return self._text(replace(conversation, messages=with_user_note(conversation.messages, note)))

    @functools.cached_property
    def _rules(self) -> ChatRules:
        return derive_rules(Probe(self._source))

    def _text(self, conversation: Conversation) -> str:
        now = datetime.now().astimezone()
        if conversation.date is not None:
            now = datetime.combine(conversation.date, now.timetz())
        try:
            messages = [self._entry(message) for message in conversation.messages]
            variables = {
                **self._rules.always,
                **self._variables(conversation),
                "messages": arranged(messages, self._rules),
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

    def _variables(self, conversation: Conversation) -> dict[str, Any]:
        effort = {} if conversation.effort is None else {_EFFORT: conversation.effort}
        return {
            **effort,
            **{name: self._plain(value) for name, value in conversation.template_variables.items()},
        }

    def _plain(self, value: Any) -> Any:
        """A JSON value whose strings never become control tokens."""
        if isinstance(value, str):
            return self._harmless(value)
        if isinstance(value, list):
            return [self._plain(item) for item in value]
        if isinstance(value, dict):
            return {self._harmless(name): self._plain(item) for name, item in value.items()}
        return value

    def _refuse_unsupported(self, conversation: Conversation) -> None:
        """Raise RequestError for a field that would have no effect."""
        given = {
            "tools": conversation.tools,
            "reasoning_effort": conversation.effort and _EFFORT not in self._reads,
            "max_reasoning_tokens": conversation.max_reasoning_tokens is not None,
            "tool_calls": any(message.calls for message in conversation.messages),
            "a message of role tool": any(message.role == "tool" for message in conversation.messages),
        }
        for name, value in given.items():
            if value:
                raise RequestError(f"{name} is supported for gpt-oss only, this model has a chat template")
        for name in conversation.template_variables:
            if name not in self._reads | _SWITCHES:
                nearest = "".join(get_close_matches(name, sorted(self._reads), n=1))
                hint = f"; did you mean {nearest}?" if nearest else ""
                raise RequestError(
                    f"chat_template_kwargs.{name}: the model's chat template does not read it{hint}"
                )

    def _refuse_unread_switch(self, conversation: Conversation, prompt: Sequence[int]) -> None:
        """Raise RequestError if reasoning is switched off, but the template opens it whatever is said."""
        for name in _SWITCHES - self._reads:
            if conversation.template_variables.get(name) is False and self._opens_reasoning(prompt):
                raise RequestError(f"chat_template_kwargs.{name}: the model's chat template always reasons")

    def _entry(self, message: Message) -> dict[str, str]:
        entry = {"role": message.role, "content": self._harmless(message.content)}
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


def _start_of_any(markers: frozenset[str]) -> re.Pattern[str] | None:
    """Matches the start of a marker without consuming it.

    Checks the first character first, because gpt-oss has 1,090 markers.
    """
    if not markers:
        return None
    first = "".join(sorted({re.escape(marker[0]) for marker in markers}))
    return re.compile(f"(?=[{first}])(?={'|'.join(map(re.escape, sorted(markers)))})")
