"""A chat with a real model whose answers are given: what it decodes is real, what it says is known."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ossctl.app.chat.chat import Chat
from ossctl.app.chat.events import Answered, ChatEvent
from ossctl.app.chat.model_session import ModelSession
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.sessions.chat_settings import ChatSettings
from ossctl.app.sessions.session_log import SessionLog, SessionModel
from ossctl.app.tools.toolbox import Toolbox
from ossctl.dialect import Conversation, Dialect
from ossctl.engine.grammar import JsonGrammars
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.harmony.markers import Markers
from ossctl.runtime.base import Chunk, Logits
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from ossctl.storage.sessions import Sessions

MODEL = SessionModel("tiny", "tiny", "tiny.gguf")


class Saying:
    """A guide that lets the model say nothing but `ids`."""

    def __init__(self, ids: Sequence[int], n_vocab: int) -> None:
        self._ids = list(ids)
        self._n_vocab = n_vocab
        self._said = 0

    def forced(self) -> Sequence[int]:
        return ()  # each is drawn, and decoded, as a model's own

    def banned(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        mask = np.ones(self._n_vocab, np.bool_)
        mask[self._ids[self._said]] = False
        return mask

    def accept(self, token: int) -> None:
        assert token == self._ids[self._said]
        self._said += 1


class GivenAnswers(HarmonyDialect):
    """Harmony, where every answer is the next of `answers`: reasoning and answer, or a call and its name."""

    answers: Iterator[Sequence[int]]

    def guide(self, conversation: Conversation, _prompt: Sequence[int]) -> Saying:
        return Saying(next(self.answers), self._tokenizer.size)

    def spelt(self, reasoning: str, answer: str, *, end: bool = True) -> list[int]:
        """The ids of an answer as gpt-oss writes it."""
        markers, words = self._markers, self._tokenizer.tokenize
        thought = [markers.channel, *words("analysis"), markers.message, *words(reasoning), markers.end]
        said = [markers.channel, *words("final"), markers.message, *words(answer)]
        return [*thought, markers.start, *words("assistant"), *said, *([markers.done] if end else [])]

    def call(self, name: str, arguments: str) -> list[int]:
        markers, words = self._markers, self._tokenizer.tokenize
        header = [markers.channel, *words(f"commentary to=functions.{name} "), markers.constrain]
        return [*header, *words("json"), markers.message, *words(arguments), markers.call]


class Watched(LlamaRunner):
    """Notes what every decode was given, and the latest logits."""

    chunks: list[Chunk]
    first_logits: Logits | None = None  # since `chunks` were cleared

    def decode(self, chunks: Sequence[Chunk]) -> Logits:
        logits = super().decode(chunks)
        self.chunks += chunks
        if len(logits) and self.first_logits is None:
            self.first_logits = logits[-1].copy()
        return logits


@dataclass
class WatchedChat:
    """A chat, and what its model decodes."""

    chat: Chat
    runner: Watched

    def ask(self, text: str) -> Answered:
        """Send, and take everything in."""
        return self.take(self.chat.send(text, lambda *_: True))

    def take(self, events: Iterable[ChatEvent]) -> Answered:
        """All events; the last one."""
        self.runner.chunks.clear()
        self.runner.first_logits = None
        return next(event for event in list(events)[-1:] if isinstance(event, Answered))

    def prompt_tokens_decoded(self) -> int:
        """Tokens that were decoded before the first one was drawn."""
        count = 0
        for chunk in self.runner.chunks:
            count += len(chunk.tokens)
            if chunk.wants_logits:
                return count
        raise AssertionError("nothing was drawn")


@dataclass
class Scripted(WatchedChat):
    """A chat and what is behind it."""

    dialect: GivenAnswers


@contextmanager
def watched_chat(
    model: LlamaModel,
    dialect: Dialect,
    options: ContextOptions,
    sessions: Sessions | None = None,
    tools: Toolbox | None = None,
) -> Iterator[WatchedChat]:
    """A chat with `model` in any dialect."""
    with Watched(model, options) as runner:
        runner.chunks = []
        loaded = LoadedModel("tiny", runner, dialect, model.vocab.piece)
        with ModelSession(loaded) as session:
            chat = Chat(
                SessionLog(sessions or Sessions.in_memory()), ChatSettings(), MODEL, tools or Toolbox()
            )
            chat.use(session, MODEL)
            yield WatchedChat(chat, runner)


@contextmanager
def scripted_chat(
    model: LlamaModel,
    answers: Callable[[GivenAnswers], Iterable[Sequence[int]]],
    options: ContextOptions,
    sessions: Sessions | None = None,
    tools: Toolbox | None = None,
) -> Iterator[Scripted]:
    """A chat with `model` that answers as `answers` says, in tokens of its dialect."""
    markers = Markers.of(model.vocab)
    assert markers is not None
    dialect = GivenAnswers(model.vocab, markers, JsonGrammars(model.vocab))
    dialect.answers = iter(answers(dialect))
    with watched_chat(model, dialect, options, sessions, tools) as watched:
        yield Scripted(watched.chat, watched.runner, dialect)
