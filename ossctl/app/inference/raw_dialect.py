"""No chat format: prompts and answers are plain text."""

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

from ossctl.dialect import Answer, Conversation, Effort, Event, stable_tokens


class PieceVocabulary(Protocol):
    """The vocabulary methods that raw text needs."""

    @property
    def begin_id(self) -> int | None: ...
    @property
    def end_ids(self) -> frozenset[int]: ...
    def piece(self, token: int) -> bytes: ...
    def tokenize(self, text: str, *, special: bool = False) -> list[int]: ...


class RawDialect:
    """Concatenates the contents of all messages. Markers in them become control tokens."""

    default_effort: Effort | None = None
    reasoning_settings: frozenset[str] = frozenset()
    takes_tools: bool = False

    def __init__(self, vocabulary: PieceVocabulary) -> None:
        self._vocabulary = vocabulary

    @property
    def end_ids(self) -> frozenset[int]:
        return self._vocabulary.end_ids

    def render(self, conversation: Conversation) -> list[int]:
        return self._tokens(_text(conversation))

    def render_prefix(self, conversation: Conversation, draft: str = "") -> list[int]:
        """Nothing separates messages, so the last token may merge with the next one."""
        return stable_tokens(self._tokens, f"{_text(conversation)}{draft}")

    def parser(self, _prompt: Sequence[int], _conversation: Conversation) -> "RawParser":
        return RawParser(self._vocabulary.piece, self.end_ids)

    def guide(self, _conversation: Conversation, _prompt: Sequence[int]) -> None:
        """Raw answers are always free."""

    def _tokens(self, text: str) -> list[int]:
        begin = self._vocabulary.begin_id
        tokens = self._vocabulary.tokenize(text, special=True)
        return tokens if begin is None or tokens[:1] == [begin] else [begin, *tokens]


def _text(conversation: Conversation) -> str:
    return "".join(message.content for message in conversation.messages)


class RawParser:
    """Every token is text, markers included, except for end tokens."""

    reasoning_tokens = 0
    answering = True

    def __init__(self, piece: Callable[[int], bytes], end_ids: frozenset[int]) -> None:
        self._piece = piece
        self._end_ids = end_ids
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> Sequence[Event]:
        return self._text(b"" if token in self._end_ids else self._piece(token))

    def close(self, *, cut: bool) -> Sequence[Event]:  # noqa: ARG002 (a cut makes no difference)
        return self._text(b"", final=True)

    def _text(self, data: bytes, *, final: bool = False) -> Sequence[Event]:
        text = self._decoder.decode(data, final)
        return [Answer(text)] if text else []
