"""What of a message is prefilled while the user writes it, key by key."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from time import monotonic, sleep

import pytest

from ossctl.app.chat.chat import Chat
from ossctl.repl import draft_prefill
from ossctl.repl.draft_prefill import DraftPrefill
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


def wait_for_prefill(chat: Chat) -> None:
    deadline = monotonic() + 30
    while chat.model_session.prefill_progress is not None:
        assert monotonic() < deadline
        sleep(0.002)


def prefilled(scripted: Scripted, follows: DraftPrefill, text: str) -> int:
    """Tokens that are decoded when `text` has been at the prompt for a while."""
    scripted.runner.chunks.clear()
    for _ in range(4):
        follows.follow(text)
        wait_for_prefill(scripted.chat)
    return sum(len(chunk.tokens) for chunk in scripted.runner.chunks)


@pytest.fixture
def follows(tiny: Scripted, monkeypatch: pytest.MonkeyPatch) -> DraftPrefill:
    """Starts a second message, without pauses."""
    monkeypatch.setattr(draft_prefill, "_PAUSE_FACTOR", 0.0)
    tiny.ask("Hello?")
    follows = DraftPrefill(tiny.chat)
    follows.begin()
    wait_for_prefill(tiny.chat)
    return follows


def test_each_word_is_prefilled_once_when_the_next_one_begins(tiny: Scripted, follows: DraftPrefill) -> None:
    size = tiny.dialect._tokenizer.tokenize
    text = "What do you make of it?"
    decoded = [prefilled(tiny, follows, text[:end]) for end in range(1, len(text) + 1)]
    for end, count in enumerate(decoded, 1):
        assert count == (len(size(text[:end].rsplit(maxsplit=1)[-1] + " ")) if text[end - 1] == " " else 0)
    assert prefilled(tiny, follows, text[:8]) == 0  # some of it is deleted
    assert prefilled(tiny, follows, "") == 0
    assert prefilled(tiny, follows, "What else ") == len(size("What else "))
    tiny.ask("What else is there?")
    assert tiny.prompt_tokens_decoded() < len(size("is there?")) + 15


def test_new_words_wait_for_the_running_prefill(tiny: Scripted, follows: DraftPrefill) -> None:
    tiny.runner.chunks.clear()
    text = "Many words. " * 200
    follows.follow(text)
    running = tiny.chat.model_session._ahead._latest
    for more in ("Some ", "Some more "):
        follows.follow(text + more)
        assert tiny.chat.model_session._ahead._latest is running
    wait_for_prefill(tiny.chat)
    assert prefilled(tiny, follows, f"{text}Some more ") == len(
        tiny.dialect._tokenizer.tokenize("Some more ")
    )


def test_a_draft_that_is_cleared_is_not_prefilled_to_its_end(tiny: Scripted, follows: DraftPrefill) -> None:
    text = "Many words. " * 300
    tiny.runner.chunks.clear()
    follows.follow(text)
    follows.follow("")
    wait_for_prefill(tiny.chat)
    assert sum(len(chunk.tokens) for chunk in tiny.runner.chunks) < len(text) / 2


def test_a_long_draft_is_prefilled_by_lines_and_the_longest_not_at_all(
    tiny: Scripted, follows: DraftPrefill
) -> None:
    line = "Many words. " * 40
    long = f"{line}\n" * 10
    assert prefilled(tiny, follows, long + line) == len(tiny.dialect._tokenizer.tokenize(long))
    assert prefilled(tiny, follows, "New. " * 30_000) == 0


def test_a_draft_that_does_not_fit_is_not_prefilled(tiny: Scripted, follows: DraftPrefill) -> None:
    cells = tiny.chat.model_session.cells
    assert prefilled(tiny, follows, "Far too much. \n" * 1000) == 0
    assert tiny.chat.model_session.cells == cells


def test_a_draft_that_came_back_is_prefilled_when_it_grows(tiny: Scripted, follows: DraftPrefill) -> None:
    follows.begin("What do you ")
    wait_for_prefill(tiny.chat)
    assert prefilled(tiny, follows, "What do you ") == 0
    assert prefilled(tiny, follows, "What do you think ") == len(
        tiny.dialect._tokenizer.tokenize("What do you think ")
    )


def test_a_slow_template_is_not_rendered_at_every_word(
    tiny: Scripted, follows: DraftPrefill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft_prefill, "_PAUSE_FACTOR", 1e6)
    assert prefilled(tiny, follows, "What ") > 0
    assert prefilled(tiny, follows, "What do you ") == 0


def test_after_a_change_of_effort_the_prompt_is_prefilled_before_the_draft(
    tiny: Scripted, follows: DraftPrefill
) -> None:
    tiny.chat.settings = replace(tiny.chat.settings, effort="high")
    follows.begin()
    assert prefilled(tiny, follows, "") == 0
    assert prefilled(tiny, follows, "What do ") > 50
    tiny.ask("What do you think?")
    assert tiny.prompt_tokens_decoded() < len(tiny.dialect._tokenizer.tokenize("you think?")) + 15
