"""Our parser against OpenAI's, on answers that keep to the format."""

import openai_harmony as oh
import pytest
from hypothesis import given

from ossctl.dialect import Answer, Event, Preamble, Reasoning, Recovered, ToolCall
from ossctl.harmony.dialect import HarmonyDialect
from tests.support.harmony_reference import (
    CALL_HEADERS,
    Reference,
    Written,
    answer_ids,
    finished_answers,
    unfinished_answers,
)


def events_of(harmony: HarmonyDialect, tokens: list[int]) -> list[Event]:
    parser = harmony.parser([])
    events = [event for token in tokens for event in parser.feed(token)]
    return [*events, *parser.close(cut=False)]


def summary(events: list[Event]) -> dict[str, object]:
    """Texts by kind, and the calls."""
    return {
        "analysis": "".join(event.text for event in events if isinstance(event, Reasoning)),
        "commentary": "".join(event.text for event in events if isinstance(event, Preamble)),
        "final": "".join(event.text for event in events if isinstance(event, Answer)),
        "calls": [(event.name, event.arguments) for event in events if isinstance(event, ToolCall)],
    }


def expected(messages: list[oh.Message]) -> dict[str, object]:
    """The same for the reference's messages; ours have a blank line between messages of one kind."""
    texts: dict[str, list[str]] = {"analysis": [], "commentary": [], "final": []}
    calls = []
    for message in messages:
        text = "".join(part.text for part in message.content if isinstance(part, oh.TextContent))
        if message.recipient is not None:
            calls.append((message.recipient.removeprefix("functions."), text))
        elif text:
            texts[message.channel or ""].append(text)
    return {**{channel: "\n\n".join(parts) for channel, parts in texts.items()}, "calls": calls}


# The kinds of answers in openai-harmony's documentation and tests.
DOCUMENTED = {
    "answer": "<|channel|>analysis<|message|>Simple arithmetic.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>2 + 2 = 4.<|return|>",
    "call": "<|channel|>analysis<|message|>We need lookup_weather.<|end|>"
    '<|start|>assistant<|channel|>analysis to=lookup_weather code<|message|>{"location": "Tokyo"}<|call|>',
    "built-in tool": "<|channel|>analysis<|message|>Let's browse to confirm.<|end|>"
    '<|start|>assistant<|channel|>commentary to=browser.search code<|message|>{"topn": 10}<|call|>',
    "preamble": "<|channel|>commentary<|message|>**Action plan**:\n1. Generate an HTML file<|end|>"
    "<|start|>assistant<|channel|>commentary to=functions.generate_file<|constrain|>json<|message|>"
    '{"path": "index.html"}<|call|>',
}


@pytest.mark.parametrize("answer", DOCUMENTED.values(), ids=DOCUMENTED.keys())
def test_documented_answers_are_parsed_as_by_the_reference(
    answer: str, harmony: HarmonyDialect, reference: Reference
) -> None:
    tokens = reference.written(answer)
    events = events_of(harmony, tokens)
    assert summary(events) == expected(reference.parse(tokens))
    assert not [event for event in events if isinstance(event, Recovered)]


@pytest.mark.parametrize("header", [*CALL_HEADERS, " to={}<|channel|>commentary<|constrain|>json"])
@pytest.mark.parametrize("recipient", ["functions.get_weather", "python"])
def test_a_call_is_parsed_wherever_its_recipient_is(
    header: str, recipient: str, harmony: HarmonyDialect, reference: Reference
) -> None:
    tokens = reference.written(f"{header.format(recipient)}<|message|>{{}}<|call|>")
    assert summary(events_of(harmony, tokens)) == expected(reference.parse(tokens))
    assert events_of(harmony, tokens) == [ToolCall(recipient.removeprefix("functions."), "{}")]


@given(finished_answers | unfinished_answers)
def test_a_well_formed_answer_is_parsed_as_by_the_reference(
    harmony: HarmonyDialect, reference: Reference, answer: list[Written]
) -> None:
    tokens = answer_ids(answer, reference)
    events = events_of(harmony, tokens)
    assert summary(events) == expected(reference.parse(tokens))
    assert not [event for event in events if isinstance(event, Recovered)]


def test_the_type_of_an_answer_is_no_recipient(harmony: HarmonyDialect, reference: Reference) -> None:
    """gpt-oss writes this header for structured answers; the reference takes `json` for a recipient."""
    tokens = reference.written("<|channel|>final <|constrain|>json<|message|>{}<|return|>")
    assert [message.recipient for message in reference.parse(tokens)] == ["<|constrain|>json"]
    assert events_of(harmony, tokens) == [Answer("{}")]


def test_a_space_in_the_type_of_a_call_does_not_matter(harmony: HarmonyDialect, reference: Reference) -> None:
    """docs/format.md renders this content type; the reference cannot parse what it has rendered."""
    tokens = reference.written(
        "<|channel|>commentary to=functions.get <|constrain|> json<|message|>{}<|call|>"
    )
    with pytest.raises(oh.HarmonyError, match="unexpected tokens remaining in message header"):
        reference.parse(tokens)
    assert events_of(harmony, tokens) == [ToolCall("get", "{}")]


@pytest.mark.parametrize("channel", ["analysis", "commentary", "final"])
def test_text_that_has_lost_its_marker_is_parsed_as_by_the_lenient_reference(
    channel: str, harmony: HarmonyDialect, reference: Reference
) -> None:
    tokens = reference.written(f"<|channel|>{channel} Hello<|end|>")
    events = events_of(harmony, tokens)
    texts = summary(events)
    assert str(texts[channel]).strip() == "Hello"
    assert {**texts, channel: "Hello"} == expected(reference.parse(tokens, strict=False))
    assert [event for event in events if isinstance(event, Recovered)]
