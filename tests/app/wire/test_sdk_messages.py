"""Messages as SDKs and servers give them back."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.lines import Line
from ossctl.dialect import Message, ToolCall
from ossctl.errors import RequestError

Object = dict[str, Any]

HI: Object = {"role": "user", "content": "Hi"}
CALL = ToolCall("weather", '{"city":"Rome"}')
# What an SDK leaves in every message.
EMPTY: Object = {
    "refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None,
    "name": None, "parsed": None, "reasoning": None, "id": "msg_1", "index": 0,
    "cache_control": {"type": "ephemeral"}, "provider_specific_fields": {"refusal": None},
    "thinking_blocks": None, "images": [], "type": "message",
}  # fmt: skip


def messages_of(*messages: Object) -> tuple[Message, ...]:
    line = Line(1, json.dumps({"custom_id": "a", "body": {"messages": messages}}).encode())
    return LineParser(Defaults()).parse(line).conversation.messages


def refusal(*messages: Object) -> str:
    with pytest.raises(RequestError) as refused:
        messages_of(*messages)
    return refused.value.message


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_empty_and_bookkeeping_fields_say_nothing(role: str) -> None:
    assert messages_of({"role": role, "content": "85", **EMPTY}) == messages_of(
        {"role": role, "content": "85"}
    )


def test_what_openais_sdk_dumps_is_understood() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": CALL.arguments}}
    for said in ({"content": "4"}, {"content": None, "tool_calls": [call]}):
        dumped = ChatCompletionMessage.model_validate({"role": "assistant", **said}).model_dump()
        assert {"refusal", "annotations", "audio", "function_call"} <= dumped.keys()
        assert messages_of(HI, dumped) == messages_of(HI, {"role": "assistant", **said})


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
def test_reasoning_has_three_names(name: str) -> None:
    assert messages_of(HI, {"role": "assistant", "content": "4", name: "2 + 2"})[1].reasoning == "2 + 2"
    both = {"role": "assistant", "content": "4", name: "2 + 2", "reasoning_content": "2 + 2"}
    assert messages_of(HI, both)[1].reasoning == "2 + 2"


def test_two_different_reasonings_are_refused() -> None:
    message = {"role": "assistant", "content": "4", "reasoning": "a", "thinking": "b"}
    assert refusal(HI, message) == "body.messages[1]: reasoning and thinking differ; give one of them"


def test_an_assistants_content_may_be_null_or_a_refusal() -> None:
    assert messages_of(HI, {"role": "assistant", "content": None})[1] == Message("assistant", "")
    refused = {"role": "assistant", "content": None, "refusal": "I can't."}
    assert messages_of(HI, refused)[1] == Message("assistant", "I can't.")


def test_text_parts_have_several_types() -> None:
    parts = [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "input_text", "text": "b"},
        {"type": "output_text", "text": "c", "annotations": [], "logprobs": None},
        {"type": "refusal", "refusal": "d"},
    ]
    assert messages_of({"role": "user", "content": parts}) == (Message("user", "a\nb\nc\nd"),)


@pytest.mark.parametrize(
    "call",
    [
        {
            "id": "c",
            "type": "function",
            "index": 0,
            "function": {"name": "weather", "arguments": CALL.arguments},
        },
        {"id": "c", "function": {"name": "weather", "arguments": {"city": "Rome"}}},
        {"function": {"index": 0, "name": "weather", "arguments": {"city": "Rome"}}},
        {"id": "c", "function": {"name": "weather", "arguments": CALL.arguments, "parsed_arguments": {}}},
    ],
)
def test_calls_have_arguments_as_text_or_an_object(call: Object) -> None:
    assert messages_of(HI, {"role": "assistant", "content": "", "tool_calls": [call]})[1].calls == (CALL,)


def test_the_null_arguments_of_a_call_are_none() -> None:
    call = {"id": "c", "function": {"name": "now", "arguments": None}}
    assert messages_of(HI, {"role": "assistant", "tool_calls": [call]})[1].calls == (ToolCall("now", "{}"),)


def test_a_result_may_repeat_the_name_of_its_function() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c", "name": "weather", "content": "sunny"}
    assert messages_of(HI, {"role": "assistant", "tool_calls": [call]}, result)[2].tool == "weather"


@pytest.mark.parametrize("label", ["tool_name", "name", "content_only"])
def test_calls_without_ids_are_answered_in_order_or_by_name(label: str) -> None:
    calls: list[Object] = [{"function": {"name": name, "arguments": {}}} for name in ("weather", "time")]
    results = [{"role": "tool", "content": name} for name in ("weather", "time")]
    if label != "content_only":
        results = [{**result, label: result["content"]} for result in reversed(results)]
    found = messages_of(HI, {"role": "assistant", "content": "", "tool_calls": calls}, *results)
    assert all(message.tool == message.content for message in found[2:])


def test_function_messages_of_the_api_before_tools_are_converted() -> None:
    called = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}}
    result = {"role": "function", "name": "weather", "content": "sunny"}
    again: list[Object] = [
        {**called, "function_call": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
        result,
    ]
    assert messages_of(HI, called, result, *again)[1:] == (
        Message("assistant", "", calls=(ToolCall("weather", "{}"),)),
        Message("tool", "sunny", tool="weather"),
        Message("assistant", "", calls=(ToolCall("weather", '{"city": "Oslo"}'),)),
        Message("tool", "sunny", tool="weather"),
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            {"role": "function", "name": "time", "content": "4"},
            "name: no earlier call of 'time' is without a res",
        ),
        (
            {"role": "user", "content": "x", "images": ["aGk="]},
            "images is not supported: the model reads text",
        ),
        (
            {"role": "assistant", "content": "x", "audio": {"id": "a"}},
            "audio is not supported: the model reads",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused_by_its_field(message: Object, reason: str) -> None:
    assert refusal(HI, message).startswith(f"body.messages[1].{reason}")
