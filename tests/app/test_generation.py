"""From tokens to an answer with its usage."""

import numpy as np

from ossctl.app.generation import Generation
from ossctl.engine.request import FinishReason, Generated, Request, TokenLogprob
from ossctl.templates.parser import TemplateParser

PIECES = [b"<think>", b"plan", b"</think>", b"Hi", b" there", b"<end>"]
END = 5


def generation(*tokens: int, stops: tuple[str, ...] = ()) -> Generation:
    request = Request("1", np.arange(4, dtype=np.int32), 9, end_ids=frozenset({END}))
    made = Generation(request, TemplateParser(PIECES.__getitem__, frozenset({END})), stops)
    for token in tokens:
        finish = FinishReason.STOP if token == END else None
        made.feed(Generated("1", token, TokenLogprob(-1.0, ()), finish, cached_tokens=2))
    return made


def test_reasoning_and_answer_are_apart_and_counted() -> None:
    made = generation(0, 1, 2, 3, 4, END)
    assert (made.reasoning, made.content, made.finish) == ("plan", "Hi there", FinishReason.STOP)
    assert (made.completion_tokens, made.reasoning_tokens, made.cached_tokens) == (6, 3, 2)


def test_log_probabilities_are_of_the_answers_tokens_alone() -> None:
    assert [token for token, _ in generation(0, 1, 2, 3, 4, END).logprobs] == [3, 4]
    assert [token for token, _ in generation(3, 4, END).logprobs] == [3, 4]


def test_a_stop_string_looks_at_the_answer_and_not_at_the_reasoning() -> None:
    made = generation(0, 1, 2, 3, stops=("plan", "there"))
    assert made.finish is None
    made = generation(0, 1, 2, 3, 4, stops=("plan", "there"))
    assert (made.content, made.finish) == ("Hi ", FinishReason.STOP)
