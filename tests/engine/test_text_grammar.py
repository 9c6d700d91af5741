"""Answers held to regular expressions, choices and Lark grammars, over a vocabulary of bytes."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.engine.grammar import JsonGrammar, JsonGrammars
from ossctl.engine.text_grammar import problem_of
from ossctl.errors import RequestError
from ossctl.guide import TextFormat
from tests.support.toy_harmony import TOY

GRAMMARS = JsonGrammars(TOY)


def fits(text_format: TextFormat, text: str) -> bool:
    """Whether `text` can be sampled, token by token, and may end."""
    made = GRAMMARS.text(text_format)
    for token in TOY.tokenize(text):
        if made.finished or made.banned()[token]:
            return False
        made.accept(token)
    return made.complete


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_only_the_choices_can_be_said_whatever_their_characters(choices: list[str]) -> None:
    text_format = TextFormat("choice", choices=tuple(choices))
    for choice in choices:
        assert fits(text_format, choice)
        for other in (choice[:-1], f"{choice}!"):
            assert fits(text_format, other) == (other in choices)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("[0-9]{3}", ["123", "12", "1234", "a"]),
        ("a/b|c", ["a/b", "c", "a", "a/c"]),
        ("(?i)yes|no", ["YES", "no", "maybe"]),
        ("a.c\nd?", ["abc\n", "a\nc\nd", "axc\nd"]),
        ("^[äöü]*$", ["", "äö", "^ä$"]),
    ],
)
def test_an_answer_matches_the_whole_regular_expression(pattern: str, texts: list[str]) -> None:
    for text in texts:
        assert fits(TextFormat("regex", pattern), text) == bool(re.fullmatch(pattern, text))


def test_a_lark_grammar_may_nest_and_have_terminals() -> None:
    nested = TextFormat("grammar", 'start: "(" start* ")" | NUMBER\nNUMBER: /[0-9]+/')
    assert [text for text in ("7", "(1(2))", "()", "(", "())") if fits(nested, text)] == ["7", "(1(2))", "()"]


def test_two_answers_with_one_format_do_not_share_their_state() -> None:
    text_format = TextFormat("choice", choices=("ab", "cd"))
    first, second = GRAMMARS.text(text_format), GRAMMARS.text(text_format)
    first.accept(TOY.tokenize("a")[0])
    assert opens(first) == "b"
    assert opens(second) == "ac"


def opens(made: JsonGrammar) -> str:
    """The bytes that may come next."""
    return bytes(token for token in np.flatnonzero(~made.banned()).tolist() if token < 256).decode()


@pytest.mark.parametrize(
    ("text_format", "problem"),
    [
        (TextFormat("regex", "a(b"), "unclosed group"),
        (
            TextFormat("regex", "a(?=b)"),
            "look-around, including look-ahead and look-behind, is not supported",
        ),
        (TextFormat("regex", r"[^\s\S]"), "no text matches it"),
        (TextFormat("regex", ""), "it is empty"),
        (TextFormat("grammar", "start: word"), 'at 1(8): unknown name: "word"'),
        (TextFormat("grammar", 'root: "a"'), "no start rule found"),
        (TextFormat("grammar", "start: start"), "no text matches it"),
        (TextFormat("grammar", "start: <|end|>"), "no text matches it"),
        (TextFormat("grammar", ""), "it is empty"),
        (TextFormat("choice", choices=("a", "")), "it is empty"),
    ],
)
def test_a_format_that_cannot_be_held_is_refused_with_the_compilers_reason(
    text_format: TextFormat, problem: str
) -> None:
    assert problem_of(text_format) == problem
    with pytest.raises(RequestError) as caught:
        GRAMMARS.text(text_format)
    assert caught.value.message == f"{text_format.kind}: {problem}"
