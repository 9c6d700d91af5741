"""Requests to /v1/responses ask the same as a chat completion, and are answered by a response object."""

import json
from typing import Any

import pytest
from openai.types.responses import Response

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.chat_completions import Task
from ossctl.app.wire.lines import Line
from ossctl.app.wire.response_object import response_object
from ossctl.app.wire.responses import ResponseTask
from ossctl.dialect import Conversation, JsonFormat, Message, Tool, ToolCall, ToolChoice
from ossctl.errors import RequestError

PLACE = {"type": "object", "properties": {"place": {"type": "string"}}}
WEATHER = {"type": "function", "name": "weather", "description": "Now.", "parameters": PLACE, "strict": False}
TIME = {"type": "function", "name": "time", "parameters": None, "strict": None}


def task_of(body: object, url: str = "/v1/responses") -> Task:
    record = {"custom_id": "a", "method": "POST", "url": url, "body": body}
    return LineParser(Defaults()).parse(Line(7, json.dumps(record).encode()))


def conversation_of(**body: object) -> Conversation:
    return task_of({"model": "gpt-5", "input": "Hi", **body}).conversation


def messages_of(*items: object, **body: object) -> tuple[Message, ...]:
    return conversation_of(input=items, **body).messages


def refusal(**body: object) -> str:
    with pytest.raises(RequestError) as refused:
        task_of({"input": "Hi", **body})
    return refused.value.message


def reasoning(*texts: str, kind: str = "content") -> dict[str, object]:
    types = {"content": "reasoning_text", "summary": "summary_text"}
    parts = [{"type": types[kind], "text": text} for text in texts]
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None, kind: parts}


def said(text: str) -> dict[str, object]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}


def call(name: str, call_id: str) -> dict[str, object]:
    return {"type": "function_call", "id": "fc", "call_id": call_id, "name": name, "arguments": "{}"}


def output(call_id: str, text: object) -> dict[str, object]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def test_a_text_asks_the_same_as_a_user_message() -> None:
    given = {"temperature": 0.5, "top_p": 0.9, "seed": 3, "top_k": 4, "stop": ["x"], "date": "2026-01-31"}
    chat = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
    limits = {"max_completion_tokens": 9, "reasoning_effort": "low", "logprobs": True, "top_logprobs": 2}
    asked = task_of({**chat, **given, **limits}, "/v1/chat/completions")
    task = task_of({
        "input": "Hi", "instructions": "Be brief.", **given,
        "max_output_tokens": 9.0, "reasoning": {"effort": "low", "summary": "auto"}, "top_logprobs": 2,
    })  # fmt: skip
    names = ("conversation", "max_tokens", "stops", "sampling", "custom_id", "line", "n")
    assert [getattr(task, name) for name in names] == [getattr(asked, name) for name in names]


def test_the_endpoint_is_part_of_the_request_and_bookkeeping_is_not() -> None:
    chat = task_of({"messages": [{"role": "user", "content": "Hi"}]}, "/v1/chat/completions")
    plain = task_of({"input": "Hi"})
    assert plain.request_key != chat.request_key
    noted = {
        "metadata": {"row": "5"}, "user": "u", "store": True, "service_tier": "auto",
        "truncation": "disabled",
        "prompt_cache_key": "k", "safety_identifier": "s", "background": False, "stream": False,
        "previous_response_id": None, "include": ["reasoning.encrypted_content"], "max_tool_calls": 3,
        "text": {"format": {"type": "text"}, "verbosity": "low"}, "parallel_tool_calls": True,
    }  # fmt: skip
    assert task_of({"input": "Hi", **noted}).request_key == plain.request_key


def test_the_items_of_a_turn_become_one_message() -> None:
    assert messages_of(
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": a} for a in ("Time?", "Weather?")]},
        reasoning("Look", "up."), said("One moment."), call("time", "1"), call("weather", "2"),
        output("2", [{"type": "input_text", "text": "Rain."}]), output("1", "Noon."),
        reasoning("Done.", kind="summary"), said("Noon, rain."),
        {"type": "message", "role": "user", "content": "Thanks"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "user", "content": "Why?"},
    ) == (
        Message("developer", "Be brief."),
        Message("user", "Time?\nWeather?"),
        Message("assistant", "One moment.", "Look\nup.", (ToolCall("time", "{}"), ToolCall("weather", "{}"))),
        Message("tool", "Rain.", tool="weather"),
        Message("tool", "Noon.", tool="time"),
        Message("assistant", "Noon, rain.", "Done."),
        Message("user", "Thanks"),
        Message("assistant", "No."),
        Message("user", "Why?"),
    )  # fmt: skip


def test_encrypted_reasoning_is_left_out() -> None:
    sealed = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAA"}
    assert messages_of(sealed, said("Hi")) == (Message("assistant", "Hi"),)


def test_functions_and_formats_are_flat() -> None:
    asked = conversation_of(tools=[WEATHER, TIME], tool_choice={"type": "function", "name": "time"})
    assert asked.tools == (Tool("weather", "Now.", PLACE), Tool("time", strict=True))
    assert asked.tool_choice == ToolChoice("required", "time")
    only = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "time"}]}
    asked = conversation_of(tools=[WEATHER, TIME], tool_choice=only)
    assert (asked.tools, asked.tool_choice) == ((Tool("time", strict=True),), ToolChoice("required"))
    schema = {
        "type": "json_schema",
        "name": "place",
        "description": "A place.",
        "schema": PLACE,
        "strict": True,
    }
    assert conversation_of(text={"format": schema}).json_format == JsonFormat(PLACE, "place", "A place.")
    anything = conversation_of(text={"format": {"type": "json_object"}}).json_format
    assert anything == JsonFormat({"type": "object"})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input": []}, "input is empty"),
        ({"input": 5}, "input: expected str | array, got int"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role: 'tool' is not supported, must be "),
        ({"input": [{"type": "web_search_call", "id": "ws"}]}, "input[0].type: 'web_search_call' is not "),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type: 'item_reference' is not supp"),
        ({"input": [{"role": "user"}]}, "input[0].content is missing"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0].type: 'input_image' is not supported, must be input_text",
        ),
        ({"input": [reasoning("Hm."), {"role": "user", "content": "Hi"}]}, "input[0]: reasoning must be"),
        ({"input": [output("9", "x")]}, "input[0].call_id: no earlier call has the id '9'"),
        ({"input": [call("time", "1"), call("time", "1")]}, "input[1].call_id: duplicate '1'"),
        ({"input": [said("x"), call("no name", "1")]}, "input[1].name: 'no name' is not a valid name"),
        ({"instructions": 5}, "instructions: expected str | null, got int"),
        ({"max_output_tokens": 0}, "max_output_tokens is 0, must be at least 1"),
        ({"max_output_tokens": "9"}, "max_output_tokens: expected int | null, got str"),
        ({"max_tokens": 9}, "max_tokens is not a field of /v1/responses, use max_output_tokens"),
        ({"messages": []}, "messages is not a field of /v1/responses, use input"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort: 'huge' is not supported"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type: 'xml' is not supported"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema is missing"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type: 'web_search' is not supported, only functions"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name is 'a b', must be 1 to 64"),
        ({"tools": [{**WEATHER, "parameters": {"type": "array"}}]}, "tools[0].parameters: the type must be"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice.name: 'f' is not among the tools"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice.type: 'mcp' is not supported"),
        ({"tool_choice": {"type": "function"}}, "tool_choice: function needs name"),
        ({"previous_response_id": "resp_1"}, "previous_response_id is not supported: nothing is stored"),
        ({"conversation": {"id": "conv_1"}}, "conversation is not supported: nothing is stored"),
        ({"background": True}, "background is not supported: a batch writes each answer"),
        ({"truncation": "auto"}, 'truncation is "auto", only "disabled" is supported'),
        ({"prompt": {"id": "p"}}, "prompt is not supported: prompts are not stored"),
        ({"wisdom": 5}, "wisdom is not supported"),
    ],
)  # fmt: skip
def test_an_error_names_the_field_of_the_request(body: dict[str, Any], message: str) -> None:
    assert refusal(**body)[: len(message)] == message


def completion_of(message: dict[str, Any], finish: str = "stop", **choice: object) -> dict[str, Any]:
    usage = {
        "prompt_tokens": 4, "completion_tokens": 7, "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 3},
    }  # fmt: skip
    entry = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None, **choice}
    identity = {"id": "chatcmpl-1", "created": 5, "model": "m", "settings": {"seed": 7}}
    return {**identity, "choices": [entry], "usage": usage}


def response_of(message: dict[str, Any], finish: str = "stop", **choice: object) -> Response:
    task = task_of({"input": "Hi", "instructions": "Be brief.", "tools": [WEATHER], "metadata": {"row": "5"}})
    assert isinstance(task, ResponseTask)
    body = response_object(completion_of(message, finish, **choice), task.echo)
    return Response.model_validate(json.loads(json.dumps(body)), strict=True)


def test_the_sdk_reads_an_answer() -> None:
    response = response_of({"content": "Hello.", "reasoning_content": "Greet."})
    assert (response.output_text, response.status, response.model) == ("Hello.", "completed", "m")
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert (response.instructions, response.metadata) == ("Be brief.", {"row": "5"})
    assert response.usage is not None
    assert response.usage.to_dict() == {
        "input_tokens": 4, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 11,
    }  # fmt: skip


def test_a_cut_answer_is_incomplete() -> None:
    response = response_of({"content": "Hel"}, "length")
    assert (response.status, response.output_text) == ("incomplete", "Hel")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    cut = response_of(
        {"content": "", "reasoning_content": "Gre"}, "length", finish_details={"cut_in": "reasoning"}
    )
    assert [item.type for item in cut.output] == ["reasoning"]


def test_an_answer_can_be_sent_back_as_the_sdk_dumps_it() -> None:
    called = {"id": "call_1", "type": "function", "function": {"name": "time", "arguments": "{}"}}
    response = response_of(
        {"content": "", "reasoning_content": "Look.", "tool_calls": [called]}, "tool_calls"
    )
    items = [item.model_dump() for item in response.output]
    assert messages_of({"role": "user", "content": "Time?"}, *items, output("call_1", "Noon."))[1:] == (
        Message("assistant", "", "Look.", (ToolCall("time", "{}"),)),
        Message("tool", "Noon.", tool="time"),
    )


def test_log_probabilities_are_those_of_the_text() -> None:
    entry = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    response = response_of({"content": "a"}, logprobs={"content": [entry]})
    part = response.output[0].to_dict()["content"][0]  # type: ignore[index]
    assert part["logprobs"] == [entry]
