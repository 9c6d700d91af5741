"""A turn prefills only what is new: the tokens that a chat decodes in each, counted by the runner."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, count
from random import Random
from time import monotonic, sleep

import numpy as np
import numpy.typing as npt
import pytest

from ossctl.app.chat.chat import Chat
from ossctl.app.chat.events import Answered
from ossctl.app.tools.command import ToolCommand, ToolCommands
from ossctl.app.tools.toolbox import Toolbox
from ossctl.dialect import Tool
from ossctl.runtime.base import Chunk, Logits
from ossctl.runtime.context import ContextOptions, LlamaRunner
from ossctl.runtime.model import LlamaModel
from tests.support.scripted_chat import GivenAnswers, Scripted, scripted_chat

Ids = npt.NDArray[np.int32]

# With ubatches of 64 the window's cache has 256 cells: an answer of 150 tokens leaves nothing of the window
# that there was before it.
OPTIONS = ContextOptions(n_ctx=8192, n_ubatch=64, n_threads=1)
LONG = 110  # characters of reasoning, which are tokens here


def thoughtful(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
    for n in count(1):
        yield dialect.spelt("hm " * (LONG // 3), f"Answer {n} of the model: {'so ' * (n % 7)}.")


@pytest.fixture
def tiny(gpt_oss: LlamaModel) -> Iterator[Scripted]:
    with scripted_chat(gpt_oss, thoughtful, OPTIONS) as scripted:
        yield scripted


@pytest.fixture
def roomy(gpt_oss: LlamaModel) -> Iterator[Scripted]:
    """With a sequence for each of several sessions."""
    with scripted_chat(gpt_oss, thoughtful, replace(OPTIONS, n_seq=4, unified=True)) as scripted:
        yield scripted


def rendered(scripted: Scripted) -> list[int]:
    """The prompt that the chat would ask now."""
    chat = scripted.chat
    return scripted.dialect.render(chat.prompts.conversation(chat.transcript.messages()))


many_turns = pytest.mark.parametrize("turns", [8, pytest.param(50, marks=pytest.mark.slow)])


@many_turns
def test_each_turn_decodes_the_last_answer_and_the_new_message_alone(tiny: Scripted, turns: int) -> None:
    words = tiny.dialect._tokenizer.tokenize
    headers = sum(len(words(word)) for word in ("final", "user", "assistant")) + 7  # markers
    for turn in range(1, turns + 1):
        text = f"Question {turn}, please."
        answered = tiny.ask(text)
        decoded = tiny.prompt_tokens_decoded()
        assert decoded == answered.computed
        if turn == 1:
            assert decoded == answered.prompt
        else:
            last_answer = tiny.chat.transcript.answers[-2].message.content
            assert decoded == len(words(last_answer)) + len(words(text)) + headers
    assert tiny.chat.history.n_answers == turns


def read_ahead(scripted: Scripted, text: str = "") -> int:
    """Tokens that are decoded while nobody waits; all of it is awaited."""
    scripted.runner.chunks.clear()
    scripted.chat.prefill_ahead(text)
    wait_until_read(scripted.chat)
    return sum(len(chunk.tokens) for chunk in scripted.runner.chunks)


def wait_until_read(chat: Chat) -> None:
    deadline = monotonic() + 30
    while chat.model_session.prefill_progress is not None:
        assert monotonic() < deadline
        sleep(0.005)


@many_turns
def test_the_last_answer_is_read_while_the_user_writes(tiny: Scripted, turns: int) -> None:
    words = tiny.dialect._tokenizer.tokenize
    before, after = len(words("final")) + len(words("user")) + 5, len(words("assistant")) + 2  # with markers
    ahead = read_ahead(tiny)
    for turn in range(1, turns + 1):
        text = f"Question {turn}, please."
        answered = tiny.ask(text)
        assert tiny.prompt_tokens_decoded() == len(words(text)) + after
        assert answered.computed == ahead + len(words(text)) + after
        ahead = read_ahead(tiny)
        assert ahead == len(words(tiny.chat.transcript.answers[-1].message.content)) + before
        assert read_ahead(tiny) == 0
    tiny.take(tiny.chat.retry(lambda *_: True))
    assert tiny.prompt_tokens_decoded() <= len(words(text)) + after
    for _ in range(3):
        tiny.chat.undo()
        assert read_ahead(tiny) == 0
        answered = tiny.ask("Another.")
        assert tiny.prompt_tokens_decoded() == answered.computed == len(words("Another.")) + after
        tiny.chat.undo()


def test_what_is_written_of_a_message_is_read_as_it_grows(tiny: Scripted) -> None:
    words = tiny.dialect._tokenizer.tokenize
    after = len(words("assistant")) + 2  # with markers
    texts = ("", "Tell me ", "Tell me more ", "Tell me more about number ")
    for turn in range(1, 11):
        ahead = [read_ahead(tiny, text) for text in texts]
        assert ahead[1:] == [len(words("Tell me ")), len(words("more ")), len(words("about number "))]
        answered = tiny.ask(f"{texts[-1]}{turn}, please.")
        rest = len(words(f"{turn}, please.")) + after
        assert tiny.prompt_tokens_decoded() == rest
        assert answered.computed == sum(ahead) + rest


def test_a_message_that_ends_otherwise_than_it_was_begun_costs_what_is_new(tiny: Scripted) -> None:
    words = tiny.dialect._tokenizer.tokenize
    after = len(words("assistant")) + 2  # with markers
    tiny.ask("Hello?")
    ahead = read_ahead(tiny)
    long = "Tell me all about it. " * 60  # the window before it is gone
    assert read_ahead(tiny, long) == len(words(long))
    assert read_ahead(tiny, "Be ") == len(words("Be "))
    answered = tiny.ask("Be brief.")
    assert tiny.prompt_tokens_decoded() == len(words("brief.")) + after
    assert answered.computed == ahead + len(words("Be brief.")) + after
    tiny.chat.undo()
    assert read_ahead(tiny) == 0
    assert tiny.ask("Another.").computed == len(words("Another.")) + after


def test_a_message_that_comes_while_the_model_reads_goes_on_from_there(tiny: Scripted) -> None:
    tiny.runner.chunks.clear()
    tiny.chat.settings = replace(tiny.chat.settings, system="Be brief. " * 600)
    tiny.chat.prefill_ahead()
    while (ahead := tiny.chat.model_session.prefill_progress) is not None and not ahead[0]:
        sleep(0.001)
    events = list(tiny.chat.send("Hello?", lambda *_: True))
    answered = events[-1]
    assert isinstance(answered, Answered)
    assert (answered.reused, answered.computed) == (0, answered.prompt)
    assert tiny.prompt_tokens_decoded() == answered.prompt


def test_reading_ahead_gives_way_to_what_does_not_begin_so(tiny: Scripted) -> None:
    tiny.ask("Hello?")
    tiny.chat.clear()
    tiny.chat.settings = replace(tiny.chat.settings, system="Be brief. " * 600)
    tiny.runner.chunks.clear()
    tiny.chat.prefill_ahead()
    tiny.chat.settings = replace(tiny.chat.settings, system="")
    answered = tiny.take(tiny.chat.send("Hello?", lambda *_: True))
    assert answered.prompt < 300
    assert sum(len(chunk.tokens) for chunk in tiny.runner.chunks) < 1000


def test_calls_and_stopped_answers_are_read_ahead_as_well(gpt_oss: LlamaModel) -> None:
    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        yield dialect.call("date", "{}")
        yield dialect.spelt("hm " * (LONG // 3), "It is Monday.")
        yield dialect.spelt("hm " * (LONG // 3), "One, two, three.")
        yield dialect.spelt("hm " * (LONG // 3), "That is all.")

    program = (sys.executable, "-c", "print('Monday')")
    tools = Toolbox([ToolCommands((Tool("date"),), {"date": ToolCommand(program, 20.0)})])
    with scripted_chat(gpt_oss, answers, OPTIONS, tools=tools) as scripted:
        scripted.chat.settings = replace(scripted.chat.settings, stops=("two",))
        words = scripted.dialect._tokenizer.tokenize
        for text in ("Which day is it?", "Count.", "Go on."):
            read_ahead(scripted)
            answered = scripted.ask(text)
            if len(scripted.chat.transcript.turns) > 1:  # after a call there is a second prompt
                assert scripted.prompt_tokens_decoded() == len(words(text)) + len(words("assistant")) + 2
                assert answered.computed < answered.prompt / 2
        said = [answer.message.content for answer in scripted.chat.transcript.answers]
        assert said == ["It is Monday.", "One, ", "That is all."]


def test_a_turn_survives_a_result_that_does_not_fit_into_the_context(gpt_oss: LlamaModel) -> None:
    def answers(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        yield dialect.call("date", "{}")
        yield dialect.spelt("", "It is long.")

    program = (sys.executable, "-c", "print('x' * 9_000)")
    tools = Toolbox([ToolCommands((Tool("date"),), {"date": ToolCommand(program, 20.0)})])
    with scripted_chat(gpt_oss, answers, OPTIONS, tools=tools) as scripted:
        scripted.ask("Which day is it?")
        _, _, result, answer = scripted.chat.transcript.messages()
    assert "9,000 bytes, does not fit" in result.content
    assert answer.content == "It is long."


def test_the_rate_counts_all_that_was_written_of_which_little_may_be_seen(gpt_oss: LlamaModel) -> None:
    with scripted_chat(gpt_oss, lambda dialect: [dialect.spelt("", "Yes.")], OPTIONS) as scripted:
        answered = scripted.ask("Hello?")
    seen = answered.seconds - answered.first_token_seconds
    assert answered.writing_seconds > 2 * seen
    assert answered.rate == (answered.completion - 1) / answered.writing_seconds


def test_another_effort_is_read_when_a_message_is_begun(tiny: Scripted) -> None:
    for turn in range(1, 4):
        read_ahead(tiny)
        tiny.ask(f"Question {turn}.")
    read_ahead(tiny)
    before = tiny.chat.settings
    tiny.chat.settings = replace(before, effort="high")
    assert read_ahead(tiny) == 0
    tiny.chat.settings = before
    answered = tiny.ask("Question 4.")
    assert tiny.prompt_tokens_decoded() < 30
    tiny.chat.settings = replace(before, effort="high")
    assert read_ahead(tiny) == 0
    ahead = read_ahead(tiny, "Question ")
    assert ahead > answered.prompt / 2
    assert 0 < (more := read_ahead(tiny, "Question ")) < 20
    answered = tiny.ask("Question 5.")
    assert tiny.prompt_tokens_decoded() < 20
    assert answered.computed == ahead + more + tiny.prompt_tokens_decoded()
    tiny.chat.undo()
    assert read_ahead(tiny) == 0
    tiny.chat.settings = before
    tiny.ask("Question 6.")
    assert tiny.prompt_tokens_decoded() > answered.prompt / 2
    assert 0 < read_ahead(tiny) < 100


def test_logits_behind_what_was_read_ahead_are_bit_for_bit_those_of_a_fresh_evaluation(
    gpt_oss: LlamaModel,
) -> None:
    options = replace(OPTIONS, n_ubatch=512)
    with scripted_chat(gpt_oss, thoughtful, options) as scripted:
        first_ahead = read_ahead(scripted)
        scripted.ask("Question 1.")
        first = asked(scripted)
        second_ahead = read_ahead(scripted)
        scripted.ask("Question 2.")
        second = asked(scripted)
        ahead = len(first) + second_ahead
        steps = (first[:first_ahead], first[first_ahead:], second[len(first) : ahead], second[ahead:])
        assert scripted.runner.first_logits is not None
        assert np.array_equal(scripted.runner.first_logits, fresh_logits(gpt_oss, options, *steps))


def test_however_a_message_is_written_the_model_has_read_what_was_sent(gpt_oss: LlamaModel) -> None:
    random = Random(1)

    def message() -> str:
        return " ".join(random.choices(("the", "quick", "brown", "fox"), k=random.choice((1, 3, 8, 90))))

    with scripted_chat(gpt_oss, thoughtful, replace(OPTIONS, n_seq=4, unified=True)) as scripted:
        chat = scripted.chat
        for _ in range(8):
            chat.prefill_ahead()
            sent = message()
            for text in random.choices((sent, sent, message()), k=random.randint(0, 3)):
                chat.prefill_ahead(text[: random.randint(0, len(text))])
                if random.random() < 0.5:
                    wait_until_read(chat)
            if chat.transcript.turns and random.random() < 0.3:
                chat.undo()
            answered = scripted.ask(sent)
            assert answered.reused + answered.computed == answered.prompt
            prompt = asked(scripted)
            fresh = fresh_logits(gpt_oss, OPTIONS, *np.array_split(prompt, len(prompt) // 2048 + 1))
            # In other steps up to 0.03 of the scale come out otherwise; without its whole window, 0.3.
            assert scripted.runner.first_logits is not None
            assert np.abs(scripted.runner.first_logits - fresh).max() < 0.1 * np.abs(fresh).max()


def fresh_logits(model: LlamaModel, options: ContextOptions, *steps: Ids) -> Logits:
    """What the model says after those tokens, computed from nothing, a decode for each of `steps`."""
    with LlamaRunner(model, options) as runner:
        for step in steps:
            logits = runner.decode([Chunk(0, step, wants_logits=True)])
        last: Logits = logits[0].copy()
    return last


def asked(scripted: Scripted) -> Ids:
    """The prompt of the latest answer."""
    chat = scripted.chat
    conversation = chat.prompts.conversation(chat.transcript.messages()[:-1])
    return np.array(scripted.dialect.render(conversation), np.int32)


def test_logits_are_bit_for_bit_those_of_a_fresh_evaluation(gpt_oss: LlamaModel) -> None:
    options = replace(OPTIONS, n_ubatch=512)  # the window's cells lie in the same order then

    def at_length(dialect: GivenAnswers) -> Iterator[Sequence[int]]:
        yield dialect.spelt("hm " * 250, "One.")
        yield dialect.spelt("hm", "Two.")

    with scripted_chat(gpt_oss, at_length, options) as scripted:
        scripted.ask("Long question. " * 100)
        first = asked(scripted)
        scripted.ask("And?")
        second = asked(scripted)
        assert scripted.prompt_tokens_decoded() == len(second) - len(first)
        steps = (first[:-1], first[-1:], second[len(first) :])  # the last token of a long one comes apart
        assert scripted.runner.first_logits is not None
        assert np.array_equal(scripted.runner.first_logits, fresh_logits(gpt_oss, options, *steps))


def test_logits_differ_after_many_turns_no_more_than_those_of_two_fresh_evaluations(
    gpt_oss: LlamaModel, tiny: Scripted
) -> None:
    for turn in range(1, 13):
        tiny.ask(f"Question {turn}, please.")
    prompt = asked(tiny)
    in_steps = {
        n: fresh_logits(gpt_oss, OPTIONS, *(prompt[at : at + n] for at in range(0, len(prompt), n)))
        for n in (37, 64, 100, 1000)
    }
    noise = max(np.abs(a - b).max() for a, b in combinations(in_steps.values(), 2))
    assert tiny.runner.first_logits is not None
    assert np.abs(tiny.runner.first_logits - in_steps[64]).max() <= 1.5 * noise


def test_undo_retry_and_edit_decode_no_more_than_they_change(tiny: Scripted) -> None:
    chat = tiny.chat
    for turn in range(1, 6):
        tiny.ask(f"Question {turn}.")
    cost = tiny.prompt_tokens_decoded()
    tiny.take(chat.retry(lambda *_: True))
    assert tiny.prompt_tokens_decoded() <= cost
    chat.undo()
    before = len(rendered(tiny))
    again = tiny.ask("Another question.")
    assert tiny.prompt_tokens_decoded() <= again.prompt - (before - _answer_size(tiny, -2))
    chat.history.move_to(chat.transcript.before(chat.history.turn(2)))
    first = len(rendered(tiny)) - _answer_size(tiny, -1)
    edited = tiny.ask("Question 2, edited.")
    assert tiny.prompt_tokens_decoded() <= edited.prompt - first


def test_a_long_message_is_read_once_however_often_it_is_answered(tiny: Scripted) -> None:
    tiny.ask("A long message. " * 100)
    tiny.take(tiny.chat.retry(lambda *_: True))
    assert tiny.prompt_tokens_decoded() == 1


def test_a_session_that_is_come_back_to_is_still_in_the_cache(roomy: Scripted) -> None:
    chat = roomy.chat
    for turn in range(1, 4):
        roomy.ask(f"Question {turn}.")
    first = chat.log.session
    assert first is not None
    chat.clear()
    roomy.ask("Something else.")
    chat.resume(first)
    before = len(rendered(roomy))
    back = roomy.ask("Question 4.")
    assert roomy.prompt_tokens_decoded() <= back.prompt - (before - _answer_size(roomy, -2))
    chat.fork()
    before = len(rendered(roomy))
    forked = roomy.ask("Question 5.")
    assert roomy.prompt_tokens_decoded() <= forked.prompt - (before - _answer_size(roomy, -2))


def test_what_a_session_that_is_come_back_to_has_in_the_cache_counts_as_reused(roomy: Scripted) -> None:
    chat = roomy.chat
    for turn in range(1, 4):
        read_ahead(roomy)
        roomy.ask(f"Question {turn}.")
    first = chat.log.session
    assert first is not None
    chat.clear()
    read_ahead(roomy)  # what all chats begin with
    chat.resume(first)
    ahead = [read_ahead(roomy, text) for text in ("", "Question ")]
    read_ahead(roomy)  # it is taken back
    ahead.append(read_ahead(roomy, "Go "))
    answered = roomy.ask("Go on.")
    assert answered.computed == ahead[0] + ahead[2] + roomy.prompt_tokens_decoded()


def _answer_size(scripted: Scripted, which: int) -> int:
    words = scripted.dialect._tokenizer.tokenize
    answer = scripted.chat.transcript.answers[which].message.content
    return len(words(answer)) + len(words("final")) + len(words("assistant")) + 4
