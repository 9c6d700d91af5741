"""Messages to token ids, through the chat template in the model's metadata."""

import re
from collections.abc import Sequence
from typing import Protocol

from jinja2 import TemplateError

from ossctl.dialect import Message
from ossctl.errors import ModelError, RequestError
from ossctl.templates.environment import TemplateRefusal, chat_environment
from ossctl.templates.parser import THINK_END, THINK_START, TemplateParser

# Put after the first character of every marker in text from outside, and gone after tokenising: a
# code point that Unicode reserves for such internal use and that no text contains.
_BREAK = "\ufdd0"


class Tokenizer(Protocol):
    """What a dialect needs of the model's vocabulary."""

    @property
    def begin_id(self) -> int | None: ...
    @property
    def begin_text(self) -> str: ...
    @property
    def end_text(self) -> str: ...
    @property
    def control_ids(self) -> frozenset[int]: ...
    def special_texts(self) -> frozenset[str]: ...
    def tokenize(self, text: str, *, special: bool = False) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...


class TemplateDialect:
    """Renders messages with a Jinja chat template; parses `<think>…</think>` in answers."""

    def __init__(self, template: str, tokenizer: Tokenizer) -> None:
        """Compile `template`. Raises ModelError if it is not valid Jinja."""
        self._tokenizer = tokenizer
        markers = sorted(tokenizer.special_texts(), key=len, reverse=True)
        self._marker = re.compile(f"(?=({'|'.join(map(re.escape, markers))}))") if markers else None
        try:
            self._template = chat_environment().from_string(template)
        except TemplateError as error:
            raise ModelError(f"the model's chat template is broken: {error}") from None

    def render(self, messages: Sequence[Message]) -> list[int]:
        """See `Dialect.render`. Nothing in the messages' text can become a control token."""
        text = self._text(messages)
        first, *rest = text.split(_BREAK)
        tokens = self._tokenizer.tokenize(first, special=True)
        for part in rest:
            tokens += self._tokenizer.tokenize(part, special=True)
        begin = self._tokenizer.begin_id
        return tokens if begin is None or tokens[:1] == [begin] else [begin, *tokens]

    def parser(self, prompt: Sequence[int]) -> TemplateParser:
        """See `Dialect.parser`. A template may end with `<think>`: then the reasoning has begun."""
        tail = b"".join(map(self._tokenizer.piece, prompt[-16:])).decode("utf-8", "replace")
        thinking = tail.rfind(THINK_START) > tail.rfind(THINK_END)
        opened = thinking and not tail.rpartition(THINK_START)[2].strip()
        return TemplateParser(self._tokenizer.piece, self._tokenizer.control_ids, thinking=opened)

    def _text(self, messages: Sequence[Message]) -> str:
        try:
            return self._template.render(
                messages=[self._entry(message) for message in messages],
                add_generation_prompt=True,
                bos_token=self._tokenizer.begin_text,
                eos_token=self._tokenizer.end_text,
            )
        except TemplateRefusal as error:
            raise RequestError(f"the model's chat template refuses these messages: {error}") from None
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise RequestError(f"the model's chat template fails on these messages: {error}") from None

    def _entry(self, message: Message) -> dict[str, str]:
        role = "system" if message.role == "developer" else message.role  # templates know one of them
        entry = {"role": role, "content": self._harmless(message.content)}
        if message.reasoning:
            entry["reasoning_content"] = self._harmless(message.reasoning)
        return entry

    def _harmless(self, text: str) -> str:
        """`text` with every marker in it taken apart."""
        text = text.replace(_BREAK, "\ufffd")
        if self._marker is None:
            return text
        parts, start = [], 0
        for match in self._marker.finditer(text):
            parts.append(text[start : match.start() + 1])
            start = match.start() + 1
        return _BREAK.join([*parts, text[start:]])
