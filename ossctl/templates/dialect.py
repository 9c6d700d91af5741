"""The dialect of models with a chat template in their metadata."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Protocol

from ossctl.dialect import Conversation, Message, Think, stable_tokens
from ossctl.errors import ModelError, RequestError
from ossctl.guide import GrammarCompiler, Guide
from ossctl.templates.answer_guides import AnswerGuides
from ossctl.templates.answer_parser import USUAL_TAGS, AnswerParser
from ossctl.templates.conversation import template_variables
from ossctl.templates.derive import derive_format
from ossctl.templates.environment import TemplateRefusal, rendered
from ossctl.templates.guard import MarkerGuard, unbroken
from ossctl.templates.schema_note import schema_note, with_system_note, with_user_note
from ossctl.templates.source import OWN_TEMPLATE, BrokenTemplate, compiled
from ossctl.templates.template_format import State, TemplateFormat, without_ends

_EFFORT = "reasoning_effort"
_TAIL = 24  # tokens of a prompt, enough for what opens or closes reasoning

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
    def special_ids(self) -> frozenset[int]: ...
    @property
    def special_texts(self) -> frozenset[str]: ...
    def tokenize(self, text: str, *, special: bool = False) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...


class TemplateDialect:
    """Renders messages with a Jinja template, and parses answers in the format that the template shows."""

    def __init__(
        self,
        template: str,
        tokenizer: PromptTokenizer,
        grammars: GrammarCompiler,
        *,
        name: str = OWN_TEMPLATE,
    ) -> None:
        """Compile `template`, which messages call `name`. Raises ModelError if it is not valid Jinja."""
        self._source = template
        self._name = name
        self._tokenizer = tokenizer
        self._grammars = grammars
        self._guard = MarkerGuard(tokenizer.special_texts)
        try:
            self._template, self._reads = compiled(template)
        except BrokenTemplate as error:
            raise ModelError(f"{name} is broken: {error}", "--template FILE replaces it.") from None

    @property
    def default_effort(self) -> None:
        """Templates keep their default to themselves."""

    @property
    def reasoning_settings(self) -> frozenset[str]:
        form = self._form.reasoning
        names = {
            "effort": bool(self._effort),
            "max_reasoning_tokens": form is not None,
            "think": form is not None and form.on is not None and form.off is not None,
        }
        return frozenset(name for name, known in names.items() if known)

    @property
    def takes_tools(self) -> bool:
        return bool(self._form.rules.tools or self._form.calls)

    @property
    def _effort(self) -> str:
        """The template's variable for the effort; empty if it has none."""
        reasoning = self._form.reasoning
        named = reasoning.effort if reasoning else ""
        return named or (_EFFORT if _EFFORT in self._reads else "")

    @property
    def end_ids(self) -> frozenset[int]:
        return self._tokenizer.end_ids

    def render(self, conversation: Conversation) -> list[int]:
        """Text of messages never becomes a control token."""
        self._refuse_unsupported(conversation)
        text = self._text_with_schema(conversation)
        first, *rest = unbroken(text)
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

    def parser(self, prompt: Sequence[int], conversation: Conversation) -> AnswerParser:
        offered = conversation.tools if conversation.tool_choice.mode != "none" else ()
        return AnswerParser(
            self._form,
            {tool.name: tool.parameters for tool in offered},
            self._tokenizer.piece,
            self._tokenizer.control_ids,
            thinking=self._state(prompt) == "open",
        )

    def guide(self, conversation: Conversation, prompt: Sequence[int]) -> Guide | None:
        """A guide for the answer's format, calls and budget. Within these limits, reasoning is free."""
        return self._guides.guide(conversation, self._state(prompt))

    @functools.cached_property
    def _guides(self) -> AnswerGuides:
        return AnswerGuides(self._form, self._tokenizer, self._grammars)

    @functools.cached_property
    def _form(self) -> TemplateFormat:
        form = derive_format(self._source)
        if form.calls is None:
            return form
        ends = [self._tokenizer.piece(token).decode("utf-8", "replace") for token in self.end_ids]
        return replace(form, calls=without_ends(form.calls, ends))

    def _state(self, prompt: Sequence[int]) -> State:
        reasoning = self._form.reasoning
        start, end = (reasoning.start, reasoning.end) if reasoning else USUAL_TAGS
        tail = b"".join(map(self._tokenizer.piece, prompt[-_TAIL:])).decode("utf-8", "replace").rstrip()
        if start and tail.endswith(start):
            return "open"
        return "closed" if end and tail.endswith(end) else "outside"

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
        if self._guard.harmless(note) in text:
            return text
        return self._text(replace(conversation, messages=with_user_note(conversation.messages, note)))

    def _text(self, conversation: Conversation) -> str:
        what = "messages and tools" if conversation.tools else "messages"
        own, reason = self._variables(conversation), ""
        for variables in self._inputs(conversation):
            try:
                text = rendered(self._template, {**variables, **own})
            except TemplateRefusal as error:
                reason = reason or f"refuses these {what}: {error}"
            except Exception as error:  # noqa: BLE001 (templates are programs: they can fail in any way)
                reason = reason or f"fails on these {what}: {error}"
            else:
                self._refuse_dropped_tools(conversation, text)
                return text
        raise RequestError(f"{self._name} {reason}")

    def _inputs(self, conversation: Conversation) -> Iterator[dict[str, Any]]:
        guard = self._guard.harmless
        return template_variables(self._form, conversation.messages, conversation.tools, guard)

    def _variables(self, conversation: Conversation) -> dict[str, Any]:
        now = datetime.now().astimezone()
        if conversation.date is not None:
            now = datetime.combine(conversation.date, now.timetz())
        effort = {} if conversation.effort is None else {self._effort: conversation.effort}
        return {
            **effort,
            **self._switched(conversation.think),
            **self._guard.plain(dict(conversation.template_variables)),
            "strftime_now": now.strftime,
            "add_generation_prompt": True,
            "bos_token": self._tokenizer.begin_text,
            "eos_token": self._tokenizer.end_text,
        }

    def _switched(self, think: Think | None) -> Mapping[str, Any]:
        form = self._form.reasoning
        if think is None:
            return {}
        variables = (form.on if think == "on" else form.off) if form else None
        if variables is None:
            raise RequestError(f"think: {self._name} cannot switch reasoning {think}")
        return variables

    def _refuse_unsupported(self, conversation: Conversation) -> None:
        """Raise RequestError for a field that would have no effect."""
        if conversation.tools and not self.takes_tools:
            raise RequestError(
                f"tools: {self._name} has none; leave them out or give another one, "
                "--template FILE or in a chat /template FILE"
            )
        if conversation.max_reasoning_tokens is not None and self._form.reasoning is None:
            raise RequestError(f"max_reasoning_tokens: {self._name} has no reasoning; leave it out")
        self._refuse_unknown_effort(conversation.effort)
        for name, value in conversation.template_variables.items():
            self._refuse_unread(name, value)

    def _refuse_unread(self, name: str, value: Any) -> None:
        """Raise RequestError for a variable that the template does not read, or a text for a boolean."""
        if name not in self._reads | _SWITCHES:
            nearest = "".join(get_close_matches(name, sorted(self._reads), n=1))
            hint = f"; did you mean {nearest}?" if nearest else ""
            raise RequestError(f"chat_template_kwargs.{name}: {self._name} does not read it{hint}")
        switches = self._form.reasoning.switches if self._form.reasoning else ()
        known = [switch.value for switch in switches if switch.variable == name]
        if isinstance(value, str) and known and all(isinstance(each, bool) for each in known):
            raise RequestError(f"chat_template_kwargs.{name} is {value[:80]!r}, must be true or false")

    def _refuse_unknown_effort(self, effort: str | None) -> None:
        if effort is not None and not self._effort:
            raise RequestError(f"reasoning_effort: {self._name} has none; leave it out")
        known = self._form.reasoning.efforts if self._form.reasoning else ()
        if effort is not None and known and effort not in known:
            raise RequestError(
                f"reasoning_effort is {effort}, but {self._name} knows only {', '.join(known)}"
            )

    def _refuse_dropped_tools(self, conversation: Conversation, prompt: str) -> None:
        for tool in conversation.tools:
            if tool.name not in "".join(unbroken(prompt)):
                raise RequestError(
                    f"tools: {self._name} leaves {tool.name} out of this conversation; "
                    "begin it with a system message"
                )

    def _refuse_unread_switch(self, conversation: Conversation, prompt: Sequence[int]) -> None:
        """Raise RequestError if reasoning is switched off, but the template opens it whatever is said."""
        for name in _SWITCHES - self._reads:
            if conversation.template_variables.get(name) is False and self._state(prompt) == "open":
                raise RequestError(f"chat_template_kwargs.{name}: {self._name} always reasons")
