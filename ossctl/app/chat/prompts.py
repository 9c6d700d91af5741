"""Prompts of a chat: its messages with instructions, tools and settings."""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ossctl.app.inference.request import GenerationSpec
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.sessions.transcript import MessageEntry, Transcript
from ossctl.dialect import Conversation, Message, Tool
from ossctl.errors import RequestError, UsageError

_SUMMARISE = (
    "Summarise our conversation so far, for yourself, in at most 200 words: what I want, what was found and "
    "decided, names, numbers and code that will be needed again, and what is still open. Write nothing else."
)
_SUMMARY_SHARE = 4  # a summary and its reasoning may take a quarter of the context


@dataclass(frozen=True)
class PromptBuilder:
    """Turns messages into conversations and generation specs, under fixed settings."""

    settings: ChatSettings
    tools: tuple[Tool, ...]
    today: dt.date

    @property
    def date(self) -> dt.date:
        """The current date given to the model."""
        return self.settings.date or self.today

    def conversation(self, messages: Sequence[Message] = ()) -> Conversation:
        """The conversation with these messages after the instructions."""
        settings = self.settings
        system = (Message("system", settings.system),) if settings.system else ()
        return Conversation(
            (*system, *messages),
            self.tools,
            effort=settings.effort,
            date=self.date,
            max_reasoning_tokens=settings.max_reasoning_tokens,
            think=settings.think,
            template_variables=settings.template_variables,
        )

    def draft(self, transcript: Transcript, text: str) -> tuple[Conversation, str]:
        """The conversation before the next user message, and the start of that message: `text` or more.

        If no turn is visible any more, the message starts with their summary.
        """
        *before, last = transcript.with_entry(MessageEntry(Message("user", text))).messages()
        return self.conversation(before), last.content

    def answer(self, messages: Sequence[Message], n_answers: int) -> GenerationSpec:
        """The request for the next answer, after `n_answers` others. Raises RequestError."""
        settings = self.settings
        conversation = self.conversation(messages)
        return GenerationSpec(conversation, settings.max_tokens, settings.stops, settings.sampling(n_answers))

    def summary(
        self, messages: Sequence[Message], n_answers: int, n_ctx: int, *, reasons: bool
    ) -> GenerationSpec:
        """The request for a summary, from a model that `reasons` or not. Raises RequestError."""
        spec = self.answer((*messages, Message("user", _SUMMARISE)), n_answers)
        limit = n_ctx // _SUMMARY_SHARE
        conversation = replace(spec.conversation, tools=())
        if reasons:
            conversation = replace(conversation, max_reasoning_tokens=limit // 2)
        return replace(spec, conversation=conversation, max_tokens=limit, stops=())


@contextmanager
def request_errors_as_usage_errors() -> Iterator[None]:
    """A request that the model cannot take is the user's to change."""
    try:
        yield
    except RequestError as error:
        raise UsageError(error.message) from None
