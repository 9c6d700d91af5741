"""The dialect of gpt-oss: Harmony prompts, parsers of answers, and guides that constrain them."""

import functools
from collections.abc import Iterator, Sequence
from typing import Protocol

from ossctl.dialect import (
    Answer,
    Conversation,
    Effort,
    Message,
    Preamble,
    Recovered,
    Tool,
    content_of,
    stable_tokens,
)
from ossctl.errors import RequestError
from ossctl.guide import Grammar, GrammarCompiler, Guide
from ossctl.harmony import markers as harmony_markers
from ossctl.harmony.call_guide import BothGuides, CallGuide
from ossctl.harmony.guide import Alphabet, AnyText, BudgetGuide, FormatGuide, Opening
from ossctl.harmony.headers import TokenIndex, header_trie
from ossctl.harmony.layout import DEFAULT_EFFORT, JSON, HarmonyMessage, lay_out, unfinished_turn
from ossctl.harmony.markers import Markers
from ossctl.harmony.native_tools import CODE, PYTHON, Recipients
from ossctl.harmony.parser import HarmonyParser
from ossctl.harmony.renderer import Renderer

_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


class HarmonyTokenizer(harmony_markers.Tokenizer, Protocol):
    """The vocabulary methods that the dialect needs."""

    @property
    def size(self) -> int: ...
    @property
    def end_ids(self) -> frozenset[int]: ...
    @property
    def pieces(self) -> Sequence[bytes]: ...


class HarmonyDialect:
    """The dialect of models whose vocabulary has Harmony's tokens."""

    def __init__(self, tokenizer: HarmonyTokenizer, markers: Markers, grammars: GrammarCompiler) -> None:
        self._tokenizer = tokenizer
        self._markers = markers
        self._grammars = grammars
        self._renderer = Renderer(tokenizer, markers)
        self._split_once = functools.lru_cache(maxsize=512)(self._split)  # every turn renders them again
        self._headers = functools.lru_cache(maxsize=64)(header_trie)  # the lines of a batch share them
        self._alphabet = Alphabet(
            markers,
            tokenizer.special_ids,
            tokenizer.size,
            reopen=self._renderer.prompt(()),
            final=self._renderer.header("final"),
        )

    reasoning_settings = frozenset({"effort", "max_reasoning_tokens"})
    takes_tools = True

    @property
    def default_effort(self) -> Effort:
        return DEFAULT_EFFORT

    @property
    def end_ids(self) -> frozenset[int]:
        """Without `<|end|>`, which ends a message but not the turn."""
        return (self._tokenizer.end_ids | {self._markers.done, self._markers.call}) - {self._markers.end}

    def render(self, conversation: Conversation) -> list[int]:
        if not conversation.messages:
            raise RequestError("messages is empty")
        return self._renderer.prompt(lay_out(conversation, self._split_once))

    def render_prefix(self, conversation: Conversation, draft: str = "") -> list[int]:
        """A message ends with a marker, so a prefix without a draft is exact for any next message."""
        prefix = self._renderer.prefix(lay_out(conversation, self._split_once))
        return prefix + stable_tokens(self._tokenizer.tokenize, draft)

    def parser(self, _prompt: Sequence[int] = (), conversation: Conversation | None = None) -> HarmonyParser:
        """A parser for an answer. Every prompt ends with the start of the assistant's message."""
        return self._parser(Recipients.of(conversation.tools if conversation else ()))

    def _parser(self, recipients: Recipients) -> HarmonyParser:
        return HarmonyParser(self._tokenizer.piece, self._markers, self._tokenizer.special_ids, recipients)

    def guide(self, conversation: Conversation, _prompt: Sequence[int]) -> Guide | None:
        budget = self._budget(conversation)
        openings = list(self._openings(conversation))
        if openings:
            reasoning = Opening(self._renderer.header("analysis"), None, self._markers.end)
            return FormatGuide(self._alphabet, [reasoning, *openings], budget)
        budget_guide = None if budget is None else BudgetGuide(self._alphabet, self.parser(), budget)
        if not conversation.tools:
            return budget_guide
        calls = self._call_guide(conversation)
        return calls if budget_guide is None else BothGuides(budget_guide, calls)

    def _budget(self, conversation: Conversation) -> int | None:
        """What is left for reasoning. Rounds of native calls are one chain of thought and share it."""
        if conversation.max_reasoning_tokens is None:
            return None
        recipients = Recipients.of(conversation.tools)
        spent = sum(
            len(self._tokenizer.tokenize(message.reasoning))
            for message in conversation.messages[unfinished_turn(conversation.messages) :]
            if any(recipients.native(call.name) for call in message.calls)
        )
        return max(conversation.max_reasoning_tokens - spent, 0)

    def _call_guide(self, conversation: Conversation) -> CallGuide:
        offered = conversation.tools if conversation.tool_choice.mode != "none" else ()
        recipients = Recipients.of(offered)
        headers = self._headers(tuple((tool.name, recipients.of_call(tool.name)) for tool in offered))
        grammars = {
            tool.name: self._arguments(tool, position)
            for position, tool in enumerate(offered)
            if tool.strict and tool.native != PYTHON
        }
        return CallGuide(self._alphabet, self._token_index, headers, self._tokenizer.piece, grammars)

    @functools.cached_property
    def _token_index(self) -> TokenIndex:
        return TokenIndex(self._tokenizer.pieces, self._tokenizer.special_ids)

    def _split(self, answer: Message, recipients: Recipients) -> list[HarmonyMessage]:
        """The messages in the token ids of an earlier answer.

        Empty if it broke the format, or if its ids and its text differ, as with another vocabulary.
        """
        token_ids = answer.token_ids
        if not all(token < self._tokenizer.size for token in token_ids):
            return []
        parser = self._parser(recipients)
        events = [event for token in token_ids for event in parser.feed(token)] + [*parser.close(cut=False)]
        broken = any(isinstance(event, Recovered) for event in events)
        content = content_of(
            (event.text for event in events if isinstance(event, Preamble)),
            (event.text for event in events if isinstance(event, Answer)),
        )
        # The ids include a stop string, the text does not.
        same = content == answer.content or (answer.content and content.startswith(answer.content))
        return self._renderer.split(token_ids) if same and not broken else []

    def _openings(self, conversation: Conversation) -> Iterator[Opening]:
        """The messages that may follow the reasoning. Yields nothing if all are allowed."""
        choice = conversation.tool_choice
        if choice.mode != "required":
            grammar = conversation.format_grammar(self._grammars)
            if grammar is None:
                return
            yield Opening(self._renderer.header("final"), grammar, self._markers.done)
        recipients = Recipients.of(conversation.tools)
        for position, tool in enumerate(conversation.tools if choice.mode != "none" else ()):
            if choice.name in ("", tool.name):
                native = tool.native is not None
                channel, content_type = ("analysis", CODE) if native else ("commentary", JSON)
                header = self._renderer.header(channel, recipients.of_call(tool.name), content_type)
                yield Opening(header, self._arguments(tool, position), self._markers.call)

    def _arguments(self, tool: Tool, position: int) -> Grammar:
        if tool.native == PYTHON:
            return AnyText(self._tokenizer.size)
        schema = _NO_PARAMETERS if tool.parameters is None else {"type": "object", **tool.parameters}
        return self._grammars.json(schema, f"tools[{position}].function.parameters")
