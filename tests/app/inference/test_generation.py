"""From tokens to an answer with its usage."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ossctl.app.inference.generation import Generation
from ossctl.dialect import Answer, Event, Preamble, Reasoning, Recovered, ToolCall
from ossctl.engine.request import FinishReason, Generated, Request, Sampling, TokenLogprob
from ossctl.templates.answer_parser import AnswerParser
from ossctl.templates.template_format import ChatRules, TemplateFormat

PIECES = [b"<think>", b"plan", b"</think>", b"Hi", b" there", b"<end>"]
END = 5
PLAIN = TemplateFormat(ChatRules())
REQUEST = Request("1", np.arange(4, dtype=np.int32), 9, end_ids=frozenset({END}))

LOOK_UP = ToolCall("look_up", '{"q":"x"}')


class SayingParser:
    """Every token is one event; those of reasoning are counted."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self.reasoning_tokens = 0
        self.answering = False

    def feed(self, token: int) -> Sequence[Event]:
        event = self._events[token]
        self.reasoning_tokens += isinstance(event, Reasoning)
        self.answering = isinstance(event, Answer)
        return (event,)

    def close(self, *, cut: bool) -> Sequence[Event]:
        return ()


def generation(*tokens: int, stops: tuple[str, ...] = ()) -> Generation:
    made = Generation(REQUEST, AnswerParser(PLAIN, {}, PIECES.__getitem__, frozenset({END})), stops)
    for token in tokens:
        finish = FinishReason.STOP if token == END else None
        made.feed(Generated("1", token, TokenLogprob(-1.0, ()), finish, cached_tokens=2))
    return made


def said(*events: Event, finish: FinishReason = FinishReason.STOP, stops: tuple[str, ...] = ()) -> Generation:
    """The generation of these events, which ends with the last one."""
    made = Generation(REQUEST, SayingParser(events), stops)
    for token in range(len(events)):
        ended = finish if token == len(events) - 1 else None
        made.feed(Generated("1", token, TokenLogprob(-1.0, ()), ended, cached_tokens=0))
    return made


def test_stop_strings_do_not_apply_to_the_first_min_tokens() -> None:
    def content(min_tokens: int, *tokens: int) -> str:
        request = replace(REQUEST, sampling=Sampling(min_tokens=min_tokens))
        made = Generation(request, AnswerParser(PLAIN, {}, PIECES.__getitem__, frozenset({END})), ("there",))
        for token in tokens:
            made.feed(Generated("1", token, None, None, cached_tokens=0))
        made.cancel()
        return made.content

    assert content(0, 3, 4, 3) == content(1, 3, 4, 3) == "Hi "
    assert content(2, 3, 4, 3) == "Hi thereHi"
    assert content(2, 3, 4, 3, 4, 3) == "Hi thereHi "


def test_reasoning_and_answer_are_apart_and_counted() -> None:
    made = generation(0, 1, 2, 3, 4, END)
    assert (made.reasoning, made.content, made.finish) == ("plan", "Hi there", FinishReason.STOP)
    assert (made.completion_tokens, made.reasoning_tokens, made.cached_tokens) == (6, 3, 2)
    assert made.tokens == [0, 1, 2, 3, 4, END]


def test_log_probabilities_are_of_the_answers_tokens_alone() -> None:
    assert [token for token, _ in generation(0, 1, 2, 3, 4, END).logprobs] == [3, 4]
    assert [token for token, _ in generation(3, 4, END).logprobs] == [3, 4]
    made = said(Preamble("One"), Reasoning("plan"), Answer("two"), Recovered("odd"), Answer("!"))
    assert [token for token, _ in made.logprobs] == [2, 4]


def test_a_stop_string_looks_at_the_answer_and_not_at_the_reasoning() -> None:
    made = generation(0, 1, 2, 3, stops=("plan", "there"))
    assert made.finish is None
    made = generation(0, 1, 2, 3, 4, stops=("plan", "there"))
    assert (made.content, made.finish) == ("Hi ", FinishReason.STOP)
    assert made.stopped_by_string
    assert not generation(3, 4, END, stops=("plan",)).stopped_by_string


def test_a_stop_string_looks_at_no_preamble_and_no_call() -> None:
    made = said(Preamble("I look x up."), LOOK_UP, stops=("x",))
    assert (made.content, made.calls, made.finish) == ("I look x up.", [LOOK_UP], FinishReason.TOOL_CALLS)


def test_what_the_model_says_before_it_works_comes_before_the_answer() -> None:
    assert said(Preamble("I look "), Preamble("it up."), Answer("It "), Answer("rains.")).content == (
        "I look it up.\n\nIt rains."
    )
    assert said(Preamble("I look it up."), LOOK_UP).content == "I look it up."
    assert said(Answer("It rains.")).content == "It rains."


@pytest.mark.parametrize(
    ("finish", "reported"),
    [
        (FinishReason.STOP, FinishReason.TOOL_CALLS),
        (FinishReason.LENGTH, FinishReason.LENGTH),
        (FinishReason.REPETITION, FinishReason.REPETITION),
    ],
)
def test_an_answer_that_ends_with_calls_says_so_unless_it_was_cut(
    finish: FinishReason, reported: FinishReason
) -> None:
    again = ToolCall("look_up", "{}")
    made = said(Reasoning("plan"), LOOK_UP, again, finish=finish)
    assert (made.calls, made.finish) == ([LOOK_UP, again], reported)
    assert said(Answer("Hi"), finish=finish).finish is finish


def test_what_was_wrong_with_the_format_is_kept_once_each() -> None:
    made = said(Recovered("no channel"), Answer("Hi"), Recovered("no end"), Recovered("no channel"))
    assert list(made.recovered) == ["no channel", "no end"]
    assert made.content == "Hi"


@pytest.mark.parametrize("finish", list(FinishReason))
def test_an_answer_is_cut_in_reasoning_if_the_tokens_end_before_anything_is_shown(
    finish: FinishReason,
) -> None:
    spent = finish in (FinishReason.LENGTH, FinishReason.REPETITION)
    plan = Reasoning("plan")
    assert said(plan, plan, finish=finish).cut_in_reasoning == spent
    for shown in (Answer("Hi"), Preamble("I look it up."), LOOK_UP):
        assert not said(plan, shown, finish=finish).cut_in_reasoning
    assert not said(Answer(""), finish=finish).cut_in_reasoning
