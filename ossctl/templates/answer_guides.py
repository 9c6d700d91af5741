"""Which guide holds an answer, by its conversation and the template's format."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from ossctl.dialect import Conversation, Tool
from ossctl.guide import Grammar, GrammarCompiler, Guide
from ossctl.templates.answer_parser import USUAL_TAGS
from ossctl.templates.call_grammar import call_grammar
from ossctl.templates.call_reader import CallReader
from ossctl.templates.call_stream import USUAL_FORM
from ossctl.templates.guide import (
    CallsGuide,
    EitherGrammar,
    GrammarGuide,
    NoCallsGuide,
    ReasoningGuide,
    ReasoningMarks,
)
from ossctl.templates.template_format import State, TemplateFormat


class GuidedVocabulary(Protocol):
    """The vocabulary methods that guides need."""

    @property
    def end_id(self) -> int: ...
    @property
    def end_ids(self) -> frozenset[int]: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    def tokenize(self, text: str, *, special: bool = False) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...


class AnswerGuides:
    """Makes guides for the answers of a model whose template has the format `form`."""

    def __init__(self, form: TemplateFormat, vocabulary: GuidedVocabulary, grammars: GrammarCompiler) -> None:
        self._calls = form.calls or USUAL_FORM
        self._reasoning = form.reasoning
        self._vocabulary = vocabulary
        self._grammars = grammars

    def guide(self, conversation: Conversation, state: State) -> Guide | None:
        """The guide for an answer to a prompt in `state`; None if it is free. Raises RequestError."""
        budget, make_rest = conversation.max_reasoning_tokens, functools.partial(self._rest, conversation)
        may_reason = state == "open" or (state == "outside" and self._may_open())
        if not may_reason:
            return make_rest()
        if budget is None and make_rest() is None:
            return None
        opened = state == "open"
        return ReasoningGuide(self._marks, self._vocabulary.piece, make_rest, opened=opened, budget=budget)

    def _may_open(self) -> bool:
        """Whether answers may start with reasoning that their prompt does not open."""
        form = self._reasoning
        return form is not None and form.state == "outside" and form.start != ""

    def _rest(self, conversation: Conversation) -> Guide | None:
        choice, tools = conversation.tool_choice, conversation.tools
        wanted = conversation.format_grammar(self._grammars)
        if tools and choice.mode == "required":
            chosen = [tool for tool in tools if choice.name in ("", tool.name)]
            return self._guide(self._grammar(chosen, parallel=not choice.name))
        if wanted is not None:
            offered = tools if choice.mode == "auto" else ()
            either = EitherGrammar([wanted, self._grammar(offered)]) if offered else wanted
            return self._guide(either)
        if tools and choice.mode == "none":
            return NoCallsGuide([self._tokens(trigger) for trigger in self._triggers(tools)])
        if any(tool.strict for tool in tools):
            self._grammar(tools)  # fails now rather than within the answer
            make = functools.partial(self._calls_guide, tools)
            return CallsGuide(self._triggers(tools), make, self._vocabulary.piece, self._tokens)
        return None

    def _guide(self, grammar: Grammar) -> GrammarGuide:
        return GrammarGuide(grammar, self._vocabulary.end_id)

    def _calls_guide(self, tools: Sequence[Tool]) -> GrammarGuide:
        return self._guide(self._grammar(tools))

    def _grammar(self, tools: Sequence[Tool], *, parallel: bool = True) -> Grammar:
        typed = [replace(tool, parameters=_of_object(tool)) for tool in tools]
        grammar = call_grammar(self._calls, typed, self._special, parallel=parallel)
        return self._grammars.lark(grammar.text, grammar.schemas, "tools")

    def _triggers(self, tools: Sequence[Tool]) -> Sequence[str]:
        return CallReader(self._calls, {tool.name: tool.parameters for tool in tools}).triggers

    @functools.cached_property
    def _special(self) -> dict[str, int]:
        piece: Callable[[int], bytes] = self._vocabulary.piece
        texts = ((piece(token).decode("utf-8", "replace"), token) for token in self._vocabulary.special_ids)
        return {text: token for text, token in texts if text}

    @functools.cached_property
    def _marks(self) -> ReasoningMarks:
        reasoning = self._reasoning
        start, end = (reasoning.start, reasoning.end) if reasoning else USUAL_TAGS
        ends = self._vocabulary.end_ids
        return ReasoningMarks(start.encode(), self._tokens(start), end.encode(), self._tokens(end), ends)

    def _tokens(self, text: str) -> list[int]:
        return self._vocabulary.tokenize(text, special=True)


def _of_object(tool: Tool) -> dict[str, object] | None:
    return None if tool.parameters is None else {"type": "object", **tool.parameters}
