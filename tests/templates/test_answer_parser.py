"""Answers are split into reasoning, text and calls wherever tokens end, and never show part of a marker."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.dialect import Answer, Event, Reasoning, Recovered, ToolCall
from ossctl.templates.answer_parser import AnswerParser
from ossctl.templates.call_format import derive_calls
from ossctl.templates.call_probe import Calls
from ossctl.templates.chat_rules import derive_rules
from ossctl.templates.derive import derive_format
from ossctl.templates.probe import Probe
from ossctl.templates.template_format import ReasoningFormat, TemplateFormat
from tests.support.chat_templates import CALLS, chat_template

TOOLS: dict[str, Any] = {
    "get_weather": {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}},
    "now": None,
}
FORMATS = {kind: derive_format(template) for kind, template in CALLS.items()}
NONE = derive_format(chat_template())
PLAN = ReasoningFormat("<think>", "</think>", "field", "reasoning_content")


def parse(form: TemplateFormat, pieces: list[bytes], *, cut: bool = False, **options: Any) -> list[Event]:
    """Events of an answer whose tokens 0, 1, 2… have these bytes."""
    tools = options.pop("tools", TOOLS)
    parser = AnswerParser(form, tools, pieces.__getitem__, options.pop("control", frozenset()), **options)
    events = [event for token in range(len(pieces)) for event in parser.feed(token)]
    return [*events, *parser.close(cut=cut)]


def joined(events: list[Event]) -> tuple[str, str, list[tuple[str, Any]]]:
    """(reasoning, text, calls)"""
    reasoning = "".join(event.text for event in events if isinstance(event, Reasoning))
    text = "".join(event.text for event in events if isinstance(event, Answer))
    calls = [(e.name, json.loads(e.arguments)) for e in events if isinstance(e, ToolCall)]
    return reasoning, text, calls


def written(kind: str, *calls: tuple[str, dict[str, Any]], text: str = "") -> str:
    probe = Probe(CALLS[kind])
    rules, form = derive_rules(probe), derive_calls(probe, derive_rules(probe))
    assert form is not None
    turn = Calls(probe, rules, form.message).turn(*calls, text=text)
    assert turn is not None
    return turn.removesuffix("<|im_end|>\n")


WEATHER = ("get_weather", {"text": "a <b>\n", "n": 7})
TURNS = {kind: written(kind, WEATHER, text="" if kind == "only JSON" else "Let me see.") for kind in CALLS}


@given(st.sampled_from(sorted(CALLS)), st.lists(st.integers(0, 400), max_size=30), st.booleans())
def test_calls_do_not_depend_on_where_tokens_end(kind: str, cuts: list[int], thinking: bool) -> None:
    raw = (("a plan</think>\n\n" if thinking else "") + TURNS[kind]).encode()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    form = replace(FORMATS[kind], reasoning=PLAN)
    expected = ("a plan" if thinking else "", "" if kind == "only JSON" else "Let me see.", [WEATHER])
    for pieces in ([raw[start:end] for start, end in pairwise(edges)], [bytes([byte]) for byte in raw]):
        assert joined(parse(form, pieces, thinking=thinking)) == expected


@pytest.mark.parametrize("kind", CALLS)
def test_no_prefix_of_a_turn_shows_part_of_a_marker(kind: str) -> None:
    turn = TURNS[kind]
    for end in range(len(turn)):
        parser = AnswerParser(FORMATS[kind], TOOLS, lambda token: turn[token].encode(), frozenset())
        shown = [event for token in range(end) for event in parser.feed(token)]
        assert "Let me see.".startswith(joined(shown)[1])


@pytest.mark.parametrize(
    "text", ["Hello", " 1 < 2 [a] {b} <tool", "a <b> c", "<tool_call> is a tag, [1] and {x}", ""]
)
@pytest.mark.parametrize("kind", CALLS)
def test_text_that_is_no_call_is_shown_as_it_is(kind: str, text: str) -> None:
    assert joined(parse(FORMATS[kind], [letter.encode() for letter in text])) == ("", text, [])
    assert joined(parse(FORMATS[kind], [text.encode()], tools={})) == ("", text, [])


def test_calls_are_events_as_soon_as_they_end() -> None:
    turn = written("JSON in tags", WEATHER, ("now", {}))
    parser = AnswerParser(FORMATS["JSON in tags"], TOOLS, lambda token: turn[token].encode(), frozenset())
    first_end = turn.index("</tool_call>") + len("</tool_call>")
    assert joined([e for token in range(first_end) for e in parser.feed(token)])[2] == [WEATHER]
    rest = [event for token in range(first_end, len(turn)) for event in parser.feed(token)]
    assert joined([*rest, *parser.close(cut=False)])[2] == [("now", {})]


def test_a_cut_call_is_reported_and_does_not_look_complete() -> None:
    turn = TURNS["tagged"][:-60]
    events = parse(FORMATS["tagged"], [turn.encode()], cut=True)
    assert Recovered("the call of get_weather was cut off") in events
    assert joined([event for event in events if not isinstance(event, ToolCall)])[1] == "Let me see."
    assert [event.cut for event in events if isinstance(event, ToolCall)] == [True]


def test_the_arguments_of_a_cut_call_are_what_there_is_of_them() -> None:
    text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Tur'
    events = parse(FORMATS["JSON in tags"], [text.encode()], cut=True)
    assert ToolCall("get_weather", '{"city": "Tur', cut=True) in events


@pytest.mark.parametrize(
    "kind", sorted({*CALLS} - {"only JSON", "Python"})
)  # whose second call has no marker
def test_a_cut_second_call_shows_no_part_of_a_marker(kind: str) -> None:
    turn = written(kind, WEATHER, WEATHER, text="Let me see.")
    for end in range(len(TURNS[kind]), len(turn)):
        events = parse(FORMATS[kind], [turn[:end].encode()], cut=True)
        assert "".join(event.text for event in events if isinstance(event, Answer)) == "Let me see."
        if end == len(turn) - 30:
            assert Recovered("the call of get_weather was cut off") in events
    events = parse(FORMATS[kind], [turn.encode()])
    assert joined(events) == ("", "Let me see.", [WEATHER, WEATHER])


def test_broken_arguments_are_a_call_that_the_model_can_be_told_about() -> None:
    text = '<tool_call>\n{"name": "get_weather", "arguments": {"n": }}\n</tool_call>'
    events = parse(FORMATS["JSON in tags"], [text.encode()])
    assert events[0] == Recovered("the call of get_weather cannot be read")
    assert isinstance(events[1], ToolCall)


def test_a_call_inside_of_reasoning_counts_only_if_the_reasoning_never_ends() -> None:
    form, turn = replace(FORMATS["JSON in tags"], reasoning=PLAN), TURNS["JSON in tags"]
    ended = parse(form, [f"<think>{turn}</think>Hello".encode()])
    assert joined(ended)[1:] == ("Hello", [])
    endless = parse(form, [f"<think>{turn}".encode()])
    assert joined(endless)[2] == [WEATHER]
    assert any(isinstance(event, Recovered) for event in endless)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "now", "arguments": {}}</tool_call>',
        '{"name": "now", "parameters": {}}',
        '{"name": "now"}',
        "[now()]",
        "<|tool_call_start|>[now()]<|tool_call_end|>",
        '<|tool_call|>[{"name": "now", "arguments": {}}]',
    ],
)
def test_the_usual_forms_are_tried_where_the_template_shows_none(text: str) -> None:
    for pieces in ([text.encode()], [letter.encode() for letter in text]):
        assert joined(parse(NONE, pieces)) == ("", "", [("now", {})])


def test_markers_of_the_answer_and_other_control_tokens_are_not_text() -> None:
    form = TemplateFormat(NONE.rules, reasoning=PLAN, answer_start="<|start|>", answer_end="<|end|>")
    pieces = [b"<think>", b"a", b"</think>", b"<|start|>", b"Hi", b"<|other|>", b"!", b"<|end|>"]
    assert joined(parse(form, pieces, control=frozenset({0, 2, 3, 5, 7}))) == ("a", "Hi!", [])
