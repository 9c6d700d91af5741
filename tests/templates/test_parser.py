"""Answers in arbitrary pieces of bytes, compared with the definition over the whole text."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ossctl.dialect import Answer, Event, Reasoning
from ossctl.templates.answer_parser import AnswerParser
from ossctl.templates.template_format import ChatRules, TemplateFormat

FRAGMENTS = st.sampled_from(
    ["<think>", "</think>", "<", "think>", "</", " ", "\n", "\u3000", "é", "漢", "😀", "text", ">"]
)
RAW = st.lists(FRAGMENTS.map(str.encode) | st.binary(max_size=3), max_size=12).map(b"".join)
PLAIN = TemplateFormat(ChatRules())
CUTS = st.lists(st.integers(0, 100), max_size=12)


def parse(
    pieces: list[bytes], *, control: frozenset[int] = frozenset(), thinking: bool = False
) -> list[Event]:
    """Events of an answer whose tokens 0, 1, 2… have these bytes."""
    parser = AnswerParser(PLAIN, {}, pieces.__getitem__, control, thinking=thinking)
    events = [event for token in range(len(pieces)) for event in parser.feed(token)]
    return [*events, *parser.close(cut=True)]


def joined(events: list[Event]) -> tuple[str, str]:
    """(reasoning, answer), checking their order."""
    kinds = [type(event) for event in events]
    assert kinds == sorted(kinds, key=[Reasoning, Answer].index)
    texts = [event.text for event in events if isinstance(event, Reasoning | Answer)]
    assert all(texts), "an event without text"
    reasoning = "".join(event.text for event in events if isinstance(event, Reasoning))
    return reasoning, "".join(event.text for event in events if isinstance(event, Answer))


def defined(text: str, *, thinking: bool) -> tuple[str, str]:
    """(reasoning, answer) of a whole text, by definition."""
    if not thinking:
        if not text.lstrip().startswith("<think>"):
            return "", text
        text = text.lstrip().removeprefix("<think>")
    reasoning, _, answer = text.lstrip().partition("</think>")
    return reasoning, answer.lstrip()


@given(RAW, CUTS, st.booleans())
@example("<think>日</think>é".encode(), list(range(30)), False)
@example(b" \xe6\x97", [2], True)
@example(b"\xf0\x9f<think>", [1, 2], False)
def test_reasoning_and_answer_do_not_depend_on_where_tokens_end(
    raw: bytes, cuts: list[int], thinking: bool
) -> None:
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [raw[start:end] for start, end in pairwise(edges)]
    expected = defined(raw.decode("utf-8", "replace"), thinking=thinking)
    assert joined(parse(pieces, thinking=thinking)) == expected
    assert joined(parse([bytes([byte]) for byte in raw], thinking=thinking)) == expected


@pytest.mark.parametrize(
    ("answer", "reasoning", "content"),
    [
        ("Hello", "", "Hello"),
        ("<think>\nplan\n</think>\n\nHello\n", "plan\n", "Hello\n"),
        ("\n <think>plan</think>Hello", "plan", "Hello"),
        ("<think></think>Hello", "", "Hello"),
        ("<think>\n\n</think>\n\nHello", "", "Hello"),
        ("<think>never ends", "never ends", ""),
        ("<think>never ends </thin", "never ends </thin", ""),
        ("<think>plan</think>", "plan", ""),
        ("<think>", "", ""),
        ("  Hello", "", "  Hello"),
        ("  ", "", "  "),
        ("<thi", "", "<thi"),
        ("<thin air", "", "<thin air"),
        ("Write <think>x</think>!", "", "Write <think>x</think>!"),
        ("<think>a</think>b <think>c</think>", "a", "b <think>c</think>"),
        ("<think>a<think>b</think>c</think>", "a<think>b", "c</think>"),
        ("</think>Hello", "", "</think>Hello"),
    ],
)
def test_reasoning_is_what_a_think_tag_at_the_start_encloses(
    answer: str, reasoning: str, content: str
) -> None:
    assert joined(parse([answer.encode()])) == (reasoning, content)
    assert joined(parse([bytes([byte]) for byte in answer.encode()])) == (reasoning, content)


@pytest.mark.parametrize(
    ("answer", "reasoning", "content"),
    [
        ("\nplan</think>\n\nHello", "plan", "Hello"),
        ("</think>Hello", "", "Hello"),
        ("never ends", "never ends", ""),
        ("<think>again</think>Hello", "<think>again", "Hello"),
    ],
)
def test_reasoning_may_start_in_the_prompt(answer: str, reasoning: str, content: str) -> None:
    assert joined(parse([bytes([byte]) for byte in answer.encode()], thinking=True)) == (reasoning, content)


def test_text_is_released_as_soon_as_it_is_certain() -> None:
    pieces = [b"<thi", b"nk>", b"pl", b"an <", b"b", b"</th", b"ink>", b" ", b"He", b"llo</think>"]
    parser = AnswerParser(PLAIN, {}, pieces.__getitem__, frozenset())
    events = [list(parser.feed(token)) for token in range(len(pieces))]
    assert events == [
        [],
        [],
        [Reasoning("pl")],
        [Reasoning("an ")],  # the tag may begin with this <
        [Reasoning("<b")],
        [],
        [],
        [],
        [Answer("He")],
        [Answer("llo</think>")],
    ]
    assert not parser.close(cut=True)


@pytest.mark.parametrize(
    ("pieces", "thinking", "so_far"),
    [
        (["<thi", "nk>", "plan", "</think>", "\n", "He", "llo"], False, [0, 2, 3, 4, 5, 5, 5]),
        (["plan", "</thi", "nk>", "Hello"], True, [1, 2, 3, 3]),
        (["<think>", "never", " ends"], False, [1, 2, 3]),
        (["\n", "<think>", "</think>", "Hello"], False, [0, 2, 3, 3]),
        (["plan", "</think>Hello", "!"], True, [1, 1, 1]),
        (["\n", "<", "b>", "<think>"], False, [0, 0, 0, 0]),
    ],
)
def test_reasoning_tokens_include_its_tags_and_the_whitespace_around(
    pieces: list[str], thinking: bool, so_far: list[int]
) -> None:
    encoded = [piece.encode() for piece in pieces]
    parser = AnswerParser(PLAIN, {}, encoded.__getitem__, frozenset(), thinking=thinking)
    assert parser.reasoning_tokens == 0
    counted = []
    for token in range(len(pieces)):
        parser.feed(token)
        counted.append(parser.reasoning_tokens)
    assert counted == so_far


def test_answering_is_true_outside_of_the_reasoning() -> None:
    pieces = [b"<thi", b"nk>", b"plan", b"</think>", b"\n", b"He", b"llo"]
    parser = AnswerParser(PLAIN, {}, pieces.__getitem__, frozenset())
    answering = []
    for token in range(len(pieces)):
        parser.feed(token)
        answering.append(parser.answering)
    assert answering == [True, False, False, False, False, True, True]


def test_control_tokens_are_never_shown() -> None:
    pieces = [
        b"<|start|>",
        b"<think>",
        b"pl",
        b"<|x|>",
        b"an</think>",
        b"<|x|>",
        b"\xc3",
        b"<|x|>",
        b"\xa9",
        b"<|end|>",
    ]
    control = frozenset({0, 3, 5, 7, 9})
    assert joined(parse(pieces, control=control)) == ("plan", "é")


def test_think_tags_that_are_control_tokens_are_still_tags() -> None:
    pieces = [b"<think>", b"plan", b"</think>", b"Hello", b"<|end|>"]
    assert joined(parse(pieces, control=frozenset({0, 2, 4}))) == ("plan", "Hello")


@pytest.mark.parametrize(
    ("pieces", "content"),
    [
        ([b"a\xffb"], "a\ufffdb"),
        ([b"\xe6", b"x"], "\ufffdx"),
        ([b"x", b"\xe6\x97"], "x\ufffd"),
        ([b"\xed\xa0\x80"], "\ufffd" * 3),  # half of a surrogate pair, which UTF-8 does not have
        ([b"\x80"] * 3, "\ufffd" * 3),
    ],
)
def test_bytes_that_are_not_utf8_become_replacement_characters(pieces: list[bytes], content: str) -> None:
    assert joined(parse(pieces)) == ("", content)
    assert joined(parse([b"<think>", *pieces])) == (content, "")
