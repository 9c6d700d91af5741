"""Parsing answers in Harmony, well-formed and malformed."""

from itertools import accumulate

import numpy as np
import pytest

from ossctl.app.inference.generation import Generation
from ossctl.dialect import Answer, Event, Preamble, Reasoning, Recovered, ToolCall
from ossctl.engine.request import FinishReason, Generated, Request, TokenLogprob
from ossctl.harmony.parser import HarmonyParser
from tests.support.toy_harmony import TEXTS, TOY, complaints, events_of, parsed, told

THINK = "<|channel|>analysis<|message|>Let me see.<|end|>"
NEXT = "<|start|>assistant"
FINAL = "<|channel|>final<|message|>42<|return|>"
CALL = ToolCall("get", '{"a":1}')

# Well-formed streams and their events.
GOOD: dict[str, list[Event]] = {
    FINAL: [Answer("42")],
    f"{THINK}{NEXT}{FINAL}": [Reasoning("Let me see."), Answer("42")],
    "<|channel|>final<|message|>one\ntwo<|end|>": [Answer("one\ntwo")],
    f"{THINK}{NEXT}<|channel|>analysis<|message|>Hm.<|end|>{NEXT}{FINAL}": [
        Reasoning("Let me see.\n\nHm."),
        Answer("42"),
    ],
    f"<|channel|>commentary<|message|>I will look.<|end|>{NEXT}{THINK}{NEXT}"
    '<|channel|>commentary to=functions.get <|constrain|>json<|message|>{"a":1}<|call|>': [
        Preamble("I will look."),
        Reasoning("Let me see."),
        CALL,
    ],
    f'{THINK}{NEXT} to=functions.get<|channel|>commentary <|constrain|>json<|message|>{{"a":1}}<|call|>': [
        Reasoning("Let me see."),
        CALL,
    ],
    ' to=functions.get<|channel|>commentary<|message|>{"a":1}<|call|>': [CALL],
    '<|channel|>commentary to=functions.get<|constrain|>json<|message|>{"a":1}<|call|>': [CALL],
    '<|channel|>commentary to=functions.get json<|message|>{"a":1}<|call|>': [CALL],
    '<|channel|>commentary to=functions.get code<|message|>{"a":1}<|call|>': [CALL],
    '<|channel|>commentary to=functions.get<|message|>{"a":1}<|call|>': [CALL],
    '<|channel|>commentary to=get<|message|>{"a":1}<|call|>': [CALL],
    '<|channel|>analysis to=functions.get<|message|>{"a":1}<|call|>': [CALL],
    "<|channel|>analysis to=python code<|message|>print(1)<|call|>": [ToolCall("python", "print(1)")],
    "<|channel|>commentary to=browser.search code<|message|>{}<|call|>": [ToolCall("browser.search", "{}")],
    f'<|channel|>commentary to=functions.get<|message|>{{"a":1}}<|end|>{NEXT}{FINAL}': [CALL, Answer("42")],
    f"<|channel|>commentary to=functions.a<|message|>{{}}<|end|>{NEXT}"
    "<|channel|>commentary to=functions.b<|message|>[]<|call|>": [ToolCall("a", "{}"), ToolCall("b", "[]")],
    f"<|channel|>final<|message|>one<|end|>{NEXT}<|channel|>final<|message|>two<|return|>": [
        Answer("one\n\ntwo")
    ],
    f"<|channel|>analysis<|message|><|end|>{NEXT}{FINAL}": [Answer("42")],
    "<|channel|>final<|message|><|return|>": [],
    "<|channel|>final <|constrain|>json<|message|>{}<|return|>": [Answer("{}")],
}

# Malformed streams, their events and part of a complaint.
BROKEN: dict[str, tuple[list[Event], str]] = {
    # unclosed headers
    "<|channel|>final The answer is 42.<|return|>": ([Answer(" The answer is 42.")], "is missing"),
    "<|channel|>final The<|return|>": ([Answer(" The")], "is missing"),
    f"<|channel|>analysis Let me see now.<|end|>{NEXT}{FINAL}": (
        [Reasoning(" Let me see now."), Answer("42")],
        "is missing",
    ),
    '<|channel|>commentary to=functions.get <|constrain|>json{"a":1}<|call|>': ([CALL], "is missing"),
    '<|channel|>commentary to=functions.get json {"a":1}<|call|>': (
        [ToolCall("get", ' {"a":1}')],
        "is missing",
    ),
    # channels
    "<|channel|>thoughts<|message|>42<|return|>": ([Answer("42")], "unknown channel"),
    "<|channel|><|message|>42<|return|>": ([Answer("42")], "unknown channel"),
    "<|channel|>final<|channel|>final<|message|>42<|return|>": ([Answer("42")], "several channels"),
    "<|channel|>analysis<|channel|>final<|message|>42<|return|>": ([Answer("42")], "several channels"),
    "<|channel|>finalfinal<|message|>42<|return|>": ([Answer("42")], "unknown channel"),
    '<|channel|>commentarycommentary to=functions.get<|message|>{"a":1}<|call|>': ([CALL], "unknown channel"),
    "<|message|>42<|return|>": ([Answer("42")], "without a channel"),
    # markers inside content
    f"<|channel|>analysis<|message|>Let me see.{NEXT}{FINAL}": (
        [Reasoning("Let me see."), Answer("42")],
        "without an end",
    ),
    f"<|channel|>analysis<|message|>Let me see.{FINAL}": (
        [Reasoning("Let me see."), Answer("42")],
        "without an end",
    ),
    "<|channel|>final<|message|>4<|message|>2<|return|>": ([Answer("42")], "<|message|> inside"),
    "<|channel|>final<|message|>4<|constrain|>2<|return|>": ([Answer("42")], "<|constrain|> inside"),
    "<|channel|>final<|message|>4<|startoftext|>2<|return|>": ([Answer("42")], "<|startoftext|> inside"),
    "<|channel|>final<|message|>42<|endoftext|>": ([Answer("42")], "<|endoftext|> inside"),
    "<|channel|>fin<|startoftext|>al<|message|>42<|return|>": ([Answer("42")], "<|startoftext|> in a header"),
    # text and markers outside of messages
    "The answer to everything is 42.<|return|>": (
        [Answer("The answer to everything is 42.")],
        "is missing",
    ),
    "42<|return|>": ([Answer("42")], "is missing"),
    "42": ([Answer("42")], "is missing"),
    f"The answer to everything is next:{FINAL}": (
        [Answer("The answer to everything is next:\n\n42")],
        "is missing",
    ),
    f"{THINK}The answer is 42.<|return|>": (
        [Reasoning("Let me see."), Answer("The answer is 42.")],
        "outside of a message",
    ),
    f"{THINK}{FINAL}": ([Reasoning("Let me see."), Answer("42")], "without <|start|>"),
    f"{THINK}<|message|>42<|return|>": ([Reasoning("Let me see."), Answer("42")], "without a header"),
    f"{THINK}<|end|>{NEXT}{FINAL}": ([Reasoning("Let me see."), Answer("42")], "<|end|> outside"),
    f"{THINK}<|constrain|>{NEXT}{FINAL}": ([Reasoning("Let me see."), Answer("42")], "<|constrain|> outside"),
    f"{THINK}{NEXT}{NEXT}{FINAL}": ([Reasoning("Let me see."), Answer("42")], "empty message"),
    f"<|end|>{NEXT}{FINAL}": ([Answer("42")], "empty message"),
    "<|return|>": ([], "empty message"),
    # roles
    f"<|channel|>final<|message|>42<|end|><|start|>user<|message|>And 43?<|end|>{NEXT}{FINAL}": (
        [Answer("42"), Reasoning("And 43?"), Answer("\n\n42")],
        "as user",
    ),
    "<|start|>functions.get to=assistant<|channel|>commentary<|message|>sunny<|end|>": (
        [Reasoning("sunny")],
        "as functions.get",
    ),
    # recipients
    "<|channel|>commentary to=assistant<|message|>Sunny.<|end|>": ([Preamble("Sunny.")], "to assistant"),
    "<|channel|>final to=user<|message|>42<|return|>": ([Answer("42")], "to user"),
    "<|channel|>commentary to=<|message|>Sunny.<|end|>": ([Preamble("Sunny.")], "empty recipient"),
    '<|channel|>commentary to=functions.get!<|message|>{"a":1}<|call|>': ([CALL], "stray text"),
    '<|channel|>commentary to=functions.get<json<|message|>{"a":1}<|call|>': ([CALL], "stray text"),
    # calls that go wrong
    "<|channel|>commentary to=functions.get<|message|>{a:1}<|call|>": (
        [ToolCall("get", "{a:1}")],
        "not valid JSON",
    ),
    "<|channel|>commentary to=functions.get<|message|><|call|>": ([ToolCall("get", "")], "not valid JSON"),
    '<|channel|>commentary to=functions.get<|message|>{"a":': (
        [ToolCall("get", '{"a":', cut=True)],
        "cut off",
    ),
    f'<|channel|>commentary to=functions.get<|message|>{{"a":1}}{NEXT}{FINAL}': (
        [CALL, Answer("42")],
        "without an end",
    ),
}


def text_of(events: list[Event]) -> str:
    """All text, in order."""
    shown = [
        e.arguments if isinstance(e, ToolCall) else e.text for e in events if not isinstance(e, Recovered)
    ]
    return "".join(shown)


@pytest.mark.parametrize("stream", GOOD)
def test_a_well_formed_stream_becomes_its_messages_without_a_complaint(stream: str) -> None:
    assert parsed(stream) == GOOD[stream]


@pytest.mark.parametrize("stream", BROKEN)
def test_a_malformed_stream_loses_no_text_and_reports_what_was_wrong(stream: str) -> None:
    events = parsed(stream)
    expected, word = BROKEN[stream]
    assert told(events) == expected
    assert any(word in what for what in complaints(events)), complaints(events)


def test_a_message_without_a_role_is_the_assistants() -> None:
    assert told(parsed(f"{THINK}<|start|>{FINAL}")) == [Reasoning("Let me see."), Answer("42")]


def test_an_empty_stream_is_an_empty_answer() -> None:
    assert parsed("") == []


def test_the_text_of_a_marker_is_text() -> None:
    spelt = "It writes <|end|> and <|start|>assistant<|channel|>final<|message|>."
    ids = [*TOY.ids("<|channel|>final<|message|>"), *TOY.tokenize(spelt), *TOY.ids("<|return|>")]
    assert parsed(ids) == [Answer(spelt)]


@pytest.mark.parametrize("stream", [*GOOD, *BROKEN])
def test_no_marker_is_ever_printed(stream: str) -> None:
    assert "<|" not in text_of(parsed(stream))


@pytest.mark.parametrize("stream", [*GOOD, *BROKEN])
def test_no_event_is_without_text(stream: str) -> None:
    assert all(event.text for event in events_of(TOY.ids(stream)) if isinstance(event, TEXTS))


@pytest.mark.parametrize("stream", [*GOOD, *BROKEN])
def test_a_stream_cut_anywhere_yields_the_text_so_far(stream: str) -> None:
    ids = TOY.ids(stream)
    whole = text_of(parsed(ids))
    content = [position for position in range(len(ids) + 1) if in_content(ids[:position])]
    for position in content:
        assert whole.startswith(text_of(parsed(ids[:position])))


@pytest.mark.parametrize("stream", GOOD)
def test_a_well_formed_stream_cut_outside_a_header_has_no_complaint_except_for_a_call(stream: str) -> None:
    ids = TOY.ids(stream)
    for position in range(len(ids) + 1):
        if in_content(ids[:position]):
            assert all("was cut off" in what for what in complaints(events_of(ids[:position])))


@pytest.mark.parametrize("stream", [FINAL, f"{THINK}{NEXT}{FINAL}"])
def test_a_well_formed_stream_cut_in_a_header_yields_none_of_it(stream: str) -> None:
    ids = TOY.ids(stream)
    for position in range(len(ids) + 1):
        events = parsed(ids[:position])
        assert not complaints(events), TOY.spelt(ids[:position])
        assert text_of(parsed(ids)).startswith(text_of(events))


def in_content(ids: list[int]) -> bool:
    """Whether the latest header, if any, has its `<|message|>`."""
    markers = TOY.markers
    latest = [token for token in ids if token in (markers.start, markers.channel, markers.message)][-1:]
    return latest == [markers.message]


LOST_IN_HEADERS: dict[str, list[Event]] = {
    "The answer is 42<|channel|>final<|message|>Yes.<|return|>": [Answer("The answer is 42\n\nYes.")],
    f"{THINK}<|start|>So it is<|channel|>final<|message|>42<|return|>": [
        Reasoning("Let me see."),
        Answer("So it is\n\n42"),
    ],
    "<|channel|>final so it is<|message|>42<|return|>": [Answer("so it is\n\n42")],
    "The answer is 42<|channel|>final<|return|>": [Answer("The answer is 42")],
    f"答えは四十二です。{FINAL}": [Answer("答えは四十二です。\n\n42")],
}


@pytest.mark.parametrize("stream", LOST_IN_HEADERS)
def test_stray_text_in_a_header_is_not_lost(stream: str) -> None:
    events = parsed(stream)
    assert "".join(text_of(told(events)).split()) == "".join(text_of(LOST_IN_HEADERS[stream]).split())
    assert complaints(events)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("Sure<|message|>42<|return|>", Answer),
        ("final<|message|>42<|return|>", Answer),
        ("analysis<|message|>42<|end|>", Reasoning),
        ("<|channel|>commentary commentary<|message|>42<|end|>", Preamble),
        ("<|channel|>commentary final<|message|>42<|return|>", Answer),
    ],
)
def test_a_word_that_is_no_recipient_is_no_call(stream: str, expected: type[Event]) -> None:
    events = parsed(stream)
    assert text_of(events).endswith("42")
    assert not any(isinstance(event, ToolCall) for event in events)
    assert isinstance(told(events)[-1], expected)
    assert complaints(events)


def test_a_space_may_precede_the_recipient() -> None:
    assert told(parsed('<|channel|>commentary to= functions.get<|message|>{"a":1}<|call|>')) == [CALL]


def test_a_bare_name_in_the_commentary_channel_is_a_recipient() -> None:
    assert parsed('<|channel|>commentary functions.get<|message|>{"a":1}<|call|>') == [CALL]


def test_a_call_without_a_function_is_no_call() -> None:
    events = parsed("<|channel|>commentary to=functions.<|message|>{}<|call|>")
    assert told(events) == [Preamble("{}")]
    assert any("empty recipient" in what for what in complaints(events))


@pytest.mark.parametrize("arguments", ['{"a":1}', '{"a": 1, "b": [1, 2]}'])
def test_arguments_directly_after_a_recipient_are_not_lost(arguments: str) -> None:
    events = parsed(f"<|channel|>commentary to=functions.get{arguments}<|call|>")
    assert told(events) == [ToolCall("get", arguments)]


def test_two_recipients_are_a_complaint() -> None:
    events = parsed(" to=functions.a<|channel|>commentary to=functions.b<|message|>{}<|call|>")
    assert told(events) == [ToolCall("b", "{}")]
    assert complaints(events)


def test_text_without_a_header_that_starts_like_a_role_is_the_answer() -> None:
    events = parsed(f"{THINK}<|start|>Tools are one thing.<|end|><|start|>tools are another thing.<|return|>")
    assert "tools are another thing." in "".join(e.text for e in events if isinstance(e, Answer))


def test_a_role_that_does_not_exist_is_a_complaint() -> None:
    events = parsed(f"{THINK}<|start|>asistant{FINAL}")
    assert told(events) == [Reasoning("Let me see."), Answer("42")]
    assert complaints(events)


@pytest.mark.parametrize("end", ["<|return|>", "<|call|>"])
def test_a_turn_that_ends_after_its_reasoning_is_a_complaint(end: str) -> None:
    events = parsed(f"<|channel|>analysis<|message|>Let me see.{end}")
    assert told(events) == [Reasoning("Let me see.")]
    assert complaints(events)


# UTF-8


@pytest.mark.parametrize("text", ["é", "漢字", "😀", "a😀b"])
@pytest.mark.parametrize("channel", ["analysis", "commentary", "final", "commentary to=functions.get"])
def test_a_character_split_over_tokens_comes_out_whole(text: str, channel: str) -> None:
    events = parsed(f"<|channel|>{channel}<|message|>{text}<|end|>")
    assert text_of(events) == text


@pytest.mark.parametrize("channel", ["analysis", "commentary", "final", "commentary to=functions.get"])
@pytest.mark.parametrize("end", ["<|end|>", "", "<|start|>assistant<|channel|>final<|message|>x"])
def test_a_character_cut_at_the_end_of_its_message_is_replaced(channel: str, end: str) -> None:
    ids = [*TOY.ids(f"<|channel|>{channel}<|message|>ok"), 0xF0, 0x9F, 0x98, *TOY.ids(end)]
    assert text_of(parsed(ids)).startswith("ok\ufffd")


def test_bytes_that_are_no_utf8_are_replaced_and_the_rest_stays() -> None:
    ids = [
        *TOY.ids("<|channel|>final<|message|>a"),
        0xFF,
        *b"b",
        0x80,
        *b"c",
        0xC3,
        *b"d",
        *TOY.ids("<|return|>"),
    ]
    assert parsed(ids) == [Answer("a\ufffdb\ufffdc\ufffdd")]


def test_half_a_character_does_not_affect_the_next_message() -> None:
    head, tail = "é".encode()
    ids = [
        *TOY.ids("<|channel|>analysis<|message|>a"),
        head,
        *TOY.ids(f"<|end|>{NEXT}<|channel|>final<|message|>"),
    ]
    assert parsed([*ids, tail, *b"b"]) == [Reasoning("a\ufffd"), Answer("\ufffdb")]


def test_half_a_character_in_a_header_affects_the_header_only() -> None:
    ids = [*TOY.ids("<|channel|>final"), 0xC3, *TOY.ids("<|message|>42<|return|>")]
    assert told(parsed(ids)) == [Answer("42")]


# counts


def followed(ids: list[int]) -> list[tuple[int, bool]]:
    """(reasoning_tokens, answering) after every token."""
    parser: HarmonyParser = TOY.parser()
    found = []
    for token in ids:
        parser.feed(token)
        found.append((parser.reasoning_tokens, parser.answering))
    return found


def test_reasoning_tokens_include_its_header_and_its_end() -> None:
    think = TOY.ids(THINK)
    again = TOY.ids(f"{NEXT}{THINK}")
    ids = [*think, *again, *TOY.ids(f"{NEXT}{FINAL}")]
    counts = [count for count, _ in followed(ids)]
    assert counts[len(think) - 1] == len(think)
    assert counts[-1] == len(think) + len(again)


def test_reasoning_without_a_header_is_counted() -> None:
    ids = TOY.ids("<|channel|>analysis Let me see what that is.")
    assert followed(ids)[-1][0] == len(ids)


@pytest.mark.parametrize(
    "stream",
    [
        FINAL,
        "<|channel|>commentary<|message|>I will look.<|end|>",
        '<|channel|>commentary to=functions.get<|message|>{"a":1}<|call|>',
        "Just an answer without any header.",
    ],
)
def test_other_text_is_not_counted_as_reasoning(stream: str) -> None:
    assert followed(TOY.ids(stream))[-1][0] == 0


def test_the_arguments_of_a_call_are_no_reasoning() -> None:
    assert followed(TOY.ids("<|channel|>analysis to=python code<|message|>print(1)<|call|>"))[-1][0] == 0


@pytest.mark.parametrize(
    "stream", [s for s in GOOD if "final<|message|>" in s or "commentary<|message|>" in s]
)
def test_answering_is_true_for_the_tokens_of_the_shown_text_alone(stream: str) -> None:
    ids = TOY.ids(stream)
    shown = b"".join(
        TOY.piece(token) for token, (_, answering) in zip(ids, followed(ids), strict=True) if answering
    )
    expected = [event.text for event in GOOD[stream] if isinstance(event, Answer | Preamble)]
    assert shown.decode() == "".join(expected).replace("\n\n", "")


def test_text_is_released_as_soon_as_it_is_certain() -> None:
    parser = TOY.parser()
    stream = TOY.ids(f"{THINK}{NEXT}{FINAL}")
    arrived = [len(text_of(list(parser.feed(token)))) for token in stream]
    shown = [
        token < 256 and answering for token, (_, answering) in zip(stream, followed(stream), strict=True)
    ]
    assert [n for n, yes in zip(arrived, shown, strict=True) if yes] == [1] * sum(shown)
    assert list(accumulate(arrived))[-1] == len("Let me see.42")


# through a Generation


def generation(
    stream: str | list[int], finish: FinishReason = FinishReason.STOP, *, stops: tuple[str, ...] = ()
) -> Generation:
    """A request whose answer is `stream`, fed until it is over."""
    ids = TOY.ids(stream) if isinstance(stream, str) else stream
    request = Request("1", np.arange(4, dtype=np.int32), len(ids), end_ids=TOY.end_ids)
    made = Generation(request, TOY.parser(), stops)
    for position, token in enumerate(ids, 1):
        last = finish if position == len(ids) else None
        made.feed(Generated("1", token, TokenLogprob(-1.0, ()), last, cached_tokens=0))
        if made.finish is not None:
            break
    return made


def logprobs_text(made: Generation) -> str:
    return b"".join(TOY.piece(token) for token, _ in made.logprobs).decode()


def test_an_end_of_a_message_is_not_the_end_of_the_turn() -> None:
    made = generation(f"{THINK}{NEXT}{FINAL}")
    assert (made.reasoning, made.content, made.finish) == ("Let me see.", "42", FinishReason.STOP)
    assert made.reasoning_tokens == len(TOY.ids(THINK))
    assert not made.recovered


def test_a_preamble_is_shown_before_the_answer() -> None:
    made = generation(f"<|channel|>commentary<|message|>I will look.<|end|>{NEXT}{FINAL}")
    assert made.content == "I will look.\n\n42"


@pytest.mark.parametrize("end", ["<|call|>", "<|return|>"])
def test_a_call_ends_the_turn_with_its_own_reason(end: str) -> None:
    made = generation(f"{THINK}{NEXT}<|channel|>commentary to=functions.get<|message|>{{}}{end}")
    assert made.finish is FinishReason.TOOL_CALLS
    assert (made.calls, made.content) == ([ToolCall("get", "{}")], "")


def test_a_turn_cut_off_after_a_call_ends_by_length() -> None:
    made = generation(
        f"<|channel|>commentary to=functions.get<|message|>{{}}<|end|>{NEXT}", FinishReason.LENGTH
    )
    assert (made.finish, made.calls) == (FinishReason.LENGTH, [ToolCall("get", "{}")])


@pytest.mark.parametrize("finish", [FinishReason.LENGTH, FinishReason.REPETITION])
@pytest.mark.parametrize("stream", [THINK.removesuffix("<|end|>"), THINK, f"{THINK}{NEXT}"])
def test_a_budget_spent_on_reasoning_is_reported_as_such(stream: str, finish: FinishReason) -> None:
    made = generation(stream, finish)
    assert (made.content, made.reasoning, made.finish) == ("", "Let me see.", finish)
    assert made.cut_in_reasoning


@pytest.mark.parametrize(
    "stream", [f"{THINK}{NEXT}{FINAL}", f"{THINK}{NEXT}<|channel|>commentary to=functions.get<|message|>{{}}"]
)
def test_an_answer_that_has_started_is_not_cut_in_its_reasoning(stream: str) -> None:
    assert not generation(stream, FinishReason.LENGTH).cut_in_reasoning


def test_a_complaint_is_reported_once() -> None:
    made = generation("<|channel|>final<|message|>4<|constrain|>2<|constrain|>!<|return|>")
    assert (made.content, list(made.recovered)) == ("42!", ["<|constrain|> inside a message"])


def test_log_probabilities_belong_to_the_answer_alone() -> None:
    assert logprobs_text(generation(f"{THINK}{NEXT}{FINAL}")) == "42"
    assert (
        logprobs_text(generation(f"{THINK}{NEXT}<|channel|>commentary to=functions.get<|message|>{{}}")) == ""
    )
    assert logprobs_text(generation("<|channel|>final<|message|>4<|constrain|>2<|return|>")) == "42"


@pytest.mark.parametrize(
    "stream",
    [
        f"<|channel|>commentary<|message|>I will look.<|end|>{NEXT}{THINK}{NEXT}{FINAL}",
        f"<|channel|>final<|message|>42<|end|>{NEXT}{THINK}",
        "<|channel|>final<|message|>42<|end|><|start|>user<|message|>And 43?<|end|>",
    ],
)
def test_log_probabilities_of_shown_text_stay_when_reasoning_follows(stream: str) -> None:
    made = generation(stream)
    assert logprobs_text(made) == made.content.replace("\n\n", "")


def test_a_stop_string_applies_to_the_answer_only() -> None:
    stream = f"{THINK}{NEXT}<|channel|>final<|message|>Let me see. Stop here.<|return|>"
    assert generation(stream, stops=("see",)).content == "Let me "
    made = generation(
        f"{THINK}{NEXT}<|channel|>commentary to=functions.get<|message|>[1]<|call|>", stops=("1",)
    )
    assert (made.finish, made.calls) == (FinishReason.TOOL_CALLS, [ToolCall("get", "[1]")])
