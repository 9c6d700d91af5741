"""The prompt's thread prefills a message while other threads count its mentions and complete it."""

import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from threading import Event, Thread
from typing import Self

import pytest

from ossctl.app.chat.chat import Chat
from ossctl.dialect import Conversation, Dialect, Message
from ossctl.engine.grammar import JsonGrammars
from ossctl.harmony import renderer
from ossctl.repl import draft_prefill
from ossctl.repl.commands import all_commands
from ossctl.repl.completion import candidates
from ossctl.repl.draft_prefill import DraftPrefill
from ossctl.repl.mentions import Mentions, describe_file
from ossctl.runtime import marked_text
from ossctl.runtime.context import ContextOptions
from ossctl.runtime.model import LlamaModel
from ossctl.templates.dialect import TemplateDialect
from tests.support.scripted_chat import scripted_chat

TURNS = [100, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
WORDS = ["two", "and", "what", "of", "the", "notes", "in", "@notes.txt", "or", "@more.txt", "please"]


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Beside:
    """Calls a function again and again on another thread; raises there what it raises."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._end = Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run)
        self.n_calls = 0

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                self._call()
                self.n_calls += 1
        except BaseException as error:  # noqa: BLE001 (the test's own thread raises it)
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        if self._error is not None:
            raise self._error


@pytest.mark.usefixtures("impatient_threads")
@pytest.mark.parametrize("turns", TURNS)
def test_a_message_is_prefilled_beside_mentions_and_completion(
    gpt_oss: LlamaModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(draft_prefill, "_PAUSE_FACTOR", 0.0)
    monkeypatch.setattr(renderer, "_MAX_CACHED_TOKENS", 200)  # every text is evicted soon
    for name in ("notes.txt", "more.txt"):
        (tmp_path / name).write_text("Notes. " * 20, "utf-8")
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    options = ContextOptions(n_ctx=4096, n_ubatch=64, n_threads=1)
    with scripted_chat(gpt_oss, lambda it: repeat(it.spelt("", "So.")), options) as tiny:
        write = Writer(tiny.chat, random.Random(seed))
        complete = partial(candidates, "see @no", all_commands(), lambda _: ())
        with Beside(write.count), Beside(complete):
            for turn in range(turns):
                write.turn(turn)
        write.mentions.settle()
    assert write.n_counted >= turns // 20


class Writer:
    """Writes messages into a chat as the prompt does."""

    def __init__(self, chat: Chat, rng: random.Random) -> None:
        self._chat = chat
        self._random = rng
        self._prefill = DraftPrefill(chat)
        self._file = partial(describe_file, context=chat.context, used=0)
        self.mentions = Mentions(self._counted)
        self.n_counted = 0

    def _counted(self) -> None:
        self.n_counted += 1

    def count(self) -> None:
        """What another thread does meanwhile."""
        assert "tokens" in self._file(Path("notes.txt")).text

    def turn(self, number: int) -> None:
        text = ""
        self._prefill.begin()
        for word in self._random.choices(WORDS, k=4):
            text += f"{word} "
            self._prefill.follow(text)
            self.mentions.count(text, self._file)
            assert all("tokens" in part.text or "…" in part.text for part in self.mentions.parts(text))
        used = self._chat.context.usage_without_history(text).used
        self.mentions.settle()
        assert self._chat.context.usage_without_history(text).used == used
        if number % 50 == 49:
            self.send(text)

    def send(self, text: str) -> None:
        list(self._chat.send(text, lambda *_: True))
        if len(self._chat.transcript.turns) > 5:
            self._chat.clear()


@pytest.mark.usefixtures("impatient_threads")
@pytest.mark.parametrize("turns", TURNS)
def test_threads_share_a_chat_template(smol: LlamaModel, monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    monkeypatch.setattr(marked_text, "_MAX_CHARACTERS", 300)
    dialect: Dialect = TemplateDialect(smol.chat_template or "", smol.vocab, JsonGrammars(smol.vocab))
    asked = [Conversation(tuple(Message("user", f"{n} and {m}?") for m in range(n))) for n in range(1, 9)]
    expected = [dialect.render(each) for each in asked]

    def render_all() -> None:
        assert [dialect.render(each) for each in asked] == expected

    with Beside(render_all), Beside(render_all):
        for _ in range(turns // 8):
            render_all()
