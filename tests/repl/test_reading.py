"""What the model reads while the user writes, key by key."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from time import monotonic, sleep

import pytest

from ossctl.app.chat.chat import Chat
from ossctl.repl import reading
from ossctl.repl.reading import Reading
from ossctl.runtime.context import ContextOptions
from ossctl.runtime.model import LlamaModel
from tests.support.scripted_chat import GivenAnswers, Scripted, scripted_chat

OPTIONS = ContextOptions(n_ctx=8192, n_ubatch=64, n_threads=1)


def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
    return repeat(dialect.spelt("hm", "So it is."))


@pytest.fixture
def tiny(gpt_oss: LlamaModel) -> Iterator[Scripted]:
    with scripted_chat(gpt_oss, answers, OPTIONS) as scripted:
        yield scripted


def wait_for(chat: Chat) -> None:
    deadline = monotonic() + 30
    while chat.talker.ahead is not None:
        assert monotonic() < deadline
        sleep(0.002)


def read(scripted: Scripted, follows: Reading, text: str) -> int:
    """Tokens that are decoded once `text` has stood there for a while."""
    scripted.runner.chunks.clear()
    for _ in range(4):
        follows.follow(text)
        wait_for(scripted.chat)
    return sum(len(chunk.tokens) for chunk in scripted.runner.chunks)


@pytest.fixture
def follows(tiny: Scripted, monkeypatch: pytest.MonkeyPatch) -> Reading:
    """Begins a second message, and has no need to rest."""
    monkeypatch.setattr(reading, "_PAUSE", 0.0)
    tiny.ask("Hello?")
    follows = Reading(tiny.chat)
    follows.begin()
    wait_for(tiny.chat)
    return follows


def test_each_word_is_read_once_when_the_next_one_begins(tiny: Scripted, follows: Reading) -> None:
    size = tiny.dialect._tokenizer.tokenize
    text = "What do you make of it?"
    decoded = [read(tiny, follows, text[:end]) for end in range(1, len(text) + 1)]
    for end, count in enumerate(decoded, 1):
        assert count == (len(size(text[:end].rsplit(maxsplit=1)[-1] + " ")) if text[end - 1] == " " else 0)
    assert read(tiny, follows, text[:8]) == 0  # some of it is deleted
    assert read(tiny, follows, "") == 0
    assert read(tiny, follows, "What else ") == len(size("What else "))
    tiny.ask("What else is there?")
    assert tiny.prompt_tokens_decoded() < len(size("is there?")) + 15


def test_what_comes_to_be_written_waits_for_what_is_being_read(tiny: Scripted, follows: Reading) -> None:
    tiny.runner.chunks.clear()
    text = "Many words. " * 200
    follows.follow(text)
    reads = tiny.chat.talker._ahead
    for more in ("Some ", "Some more "):
        follows.follow(text + more)
        assert tiny.chat.talker._ahead is reads
    wait_for(tiny.chat)
    assert read(tiny, follows, f"{text}Some more ") == len(tiny.dialect._tokenizer.tokenize("Some more "))


def test_what_is_taken_back_is_not_read_to_its_end(tiny: Scripted, follows: Reading) -> None:
    text = "Many words. " * 300
    tiny.runner.chunks.clear()
    follows.follow(text)
    follows.follow("")
    wait_for(tiny.chat)
    assert sum(len(chunk.tokens) for chunk in tiny.runner.chunks) < len(text) / 2


def test_of_a_long_message_lines_are_read_and_of_the_longest_nothing(
    tiny: Scripted, follows: Reading
) -> None:
    line = "Many words. " * 40
    long = f"{line}\n" * 10
    assert read(tiny, follows, long + line) == len(tiny.dialect._tokenizer.tokenize(long))
    assert read(tiny, follows, "New. " * 30_000) == 0


def test_a_message_that_does_not_fit_is_not_read(tiny: Scripted, follows: Reading) -> None:
    cells = tiny.chat.cells
    assert read(tiny, follows, "Far too much. \n" * 1000) == 0
    assert tiny.chat.cells == cells


def test_a_draft_is_read_when_it_is_gone_on_with(tiny: Scripted, follows: Reading) -> None:
    follows.begin("What do you ")
    wait_for(tiny.chat)
    assert read(tiny, follows, "What do you ") == 0
    assert read(tiny, follows, "What do you think ") == len(
        tiny.dialect._tokenizer.tokenize("What do you think ")
    )


def test_a_slow_template_is_not_asked_at_every_word(
    tiny: Scripted, follows: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_PAUSE", 1e6)
    assert read(tiny, follows, "What ") > 0
    assert read(tiny, follows, "What do you ") == 0


def test_another_effort_is_read_first_and_then_the_message(tiny: Scripted, follows: Reading) -> None:
    tiny.chat.settings = replace(tiny.chat.settings, effort="high")
    follows.begin()
    assert read(tiny, follows, "") == 0
    assert read(tiny, follows, "What do ") > 50
    tiny.ask("What do you think?")
    assert tiny.prompt_tokens_decoded() < len(tiny.dialect._tokenizer.tokenize("you think?")) + 15
