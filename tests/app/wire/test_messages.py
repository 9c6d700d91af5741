"""Messages, tools, formats and effort of a request, and the field that an error names."""

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.lines import Line
from ossctl.dialect import Conversation, JsonFormat, Message, Tool, ToolCall, ToolChoice
from ossctl.errors import RequestError

Object = dict[str, Any]

HI: Object = {"role": "user", "content": "Hi"}
PLACE: Object = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ROME = '{"city": "Rome"}'
FUNCTION = " supported, must be 'function'"
FORMATS = " supported, must be 'text', 'json_object' or 'json_schema'"
EFFORTS = " supported, must be 'low', 'medium' or 'high'"
ROLES = "'system', 'developer', 'user', 'assistant' or 'tool'"
NAME_RULE = "must be 1 to 64 letters, digits, - and _"


def conversation_of(defaults: Defaults | None = None, **body: object) -> Conversation:
    line = Line(1, json.dumps({"messages": [HI], **body}).encode())
    return LineParser(defaults or Defaults()).parse(line).conversation


def refusal_of(line: bytes) -> str:
    with pytest.raises(RequestError) as refused:
        LineParser(Defaults()).parse(Line(1, line))
    assert refused.value.code == "invalid_request"
    return refused.value.message


def refusal(**body: object) -> str:
    return refusal_of(json.dumps({"messages": [HI], **body}).encode())


def call(call_id: str = "c1", name: str = "weather", arguments: str = ROME) -> Object:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: Object, **fields: object) -> Object:
    return {"role": "assistant", "tool_calls": list(calls or [call()]), **fields}


def result(call_id: str = "c1", content: object = "sunny") -> Object:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def tool(name: str = "weather", **fields: object) -> Object:
    return {"type": "function", "function": {"name": name, **fields}}


def json_schema(**fields: object) -> Object:
    return {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE, **fields}}


def test_a_line_without_options_is_a_plain_conversation() -> None:
    assert conversation_of() == Conversation((Message("user", "Hi"),))


def test_calls_and_results_are_matched_by_call_id() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        HI,
        calling(call("a"), call("b", "time", ""), content="One moment.", reasoning_content="Two calls."),
        result("b", [{"type": "text", "text": "12:"}, {"type": "text", "text": "00"}]),
        result("a"),
    ]
    assert conversation_of(messages=messages).messages == (
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("assistant", "One moment.", "Two calls.", (ToolCall("weather", ROME), ToolCall("time", ""))),
        Message("tool", "12:\n00", tool="time"),
        Message("tool", "sunny", tool="weather"),
    )


def test_a_result_belongs_to_the_latest_call_of_its_id() -> None:
    messages = [HI, calling(call("1", "time")), result("1"), calling(call("1", "weather")), result("1")]
    found = conversation_of(messages=messages).messages
    assert [message.tool for message in found if message.role == "tool"] == ["time", "weather"]


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}, {"content": []}])
def test_a_message_with_calls_needs_no_content(content: Object) -> None:
    assert conversation_of(messages=[HI, calling(**content)]).messages[1].content == ""


@pytest.mark.parametrize("arguments", ["", "{", "[1]", "not JSON", '{"a": "\U0001f600\\u0000"}'])
def test_arguments_of_earlier_calls_are_kept_as_the_model_wrote_them(arguments: str) -> None:
    (kept,) = conversation_of(messages=[calling(call(arguments=arguments))]).messages[0].calls
    assert kept.arguments == arguments


def test_an_earlier_call_may_name_a_function_that_is_not_offered() -> None:
    messages = [HI, calling(call(name="functions.no-such.thing")), result()]
    assert conversation_of(messages=messages, tools=[tool()]).messages[2].tool == "functions.no-such.thing"


@pytest.mark.parametrize("name", ["reasoning_content", "tool_calls", "tool_call_id"])
def test_null_is_the_same_as_leaving_a_messages_field_out(name: str) -> None:
    assert conversation_of(messages=[{**HI, name: None}]) == conversation_of()


def test_tools_are_read_with_description_and_parameters() -> None:
    tools = [tool(), tool("a-B_9", description="Does it.", parameters=PLACE, strict=True), tool("x" * 64)]
    assert conversation_of(tools=tools).tools == (
        Tool("weather"),
        Tool("a-B_9", "Does it.", PLACE, strict=True),
        Tool("x" * 64),
    )


@pytest.mark.parametrize(
    ("choice", "meaning"),
    [
        (None, ToolChoice("auto")),
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "time"}}, ToolChoice("required", "time")),
    ],
)
def test_tool_choice_is_none_auto_required_or_a_named_function(choice: object, meaning: ToolChoice) -> None:
    assert conversation_of(tools=[tool(), tool("time")], tool_choice=choice).tool_choice == meaning


@pytest.mark.parametrize("value", [True, False, None])
def test_parallel_tool_calls_changes_nothing(value: object) -> None:
    assert conversation_of(tools=[tool()], parallel_tool_calls=value) == conversation_of(tools=[tool()])


@pytest.mark.parametrize(
    ("response_format", "meaning"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonFormat({"type": "object"})),
        (json_schema(), JsonFormat(PLACE, "place")),
        (json_schema(description="Where.", strict=False), JsonFormat(PLACE, "place", "Where.")),
    ],
)
def test_response_format_is_text_any_object_or_a_schema(
    response_format: object, meaning: JsonFormat | None
) -> None:
    assert conversation_of(response_format=response_format).json_format == meaning


def test_effort_date_and_budget_default_to_the_options() -> None:
    defaults = Defaults(dt.date(2025, 1, 2), "low", 50)
    inherited = conversation_of(defaults, date=None, reasoning_effort=None, max_reasoning_tokens=None)
    assert (inherited.date, inherited.effort, inherited.max_reasoning_tokens) == (
        dt.date(2025, 1, 2),
        "low",
        50,
    )
    own = conversation_of(defaults, date="1999-12-31", reasoning_effort="high", max_reasoning_tokens=0)
    assert (own.date, own.effort, own.max_reasoning_tokens) == (dt.date(1999, 12, 31), "high", 0)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages is empty"),
        ("Hi", "messages: expected array | null, got str"),
        ([HI, "Hi"], "messages[1]: expected object, got str"),
        ([{"content": "Hi"}], "messages[0].role is missing"),
        ([{**HI, "role": "critic"}], "messages[0].role: 'critic' is not supported, must be " + ROLES),
        ([{**HI, "role": None}], "messages[0].role is missing"),
        ([HI, {"role": "user"}], "messages[1].content is missing"),
        ([{"role": "user", "content": None}], "messages[0].content is missing"),
        ([{"role": "assistant"}], "messages[0].content is missing"),
        ([calling() | {"tool_calls": []}], "messages[0].content is missing"),
        ([{"role": "assistant", "reasoning_content": "Hm."}], "messages[0].content is missing"),
        ([HI, calling(), {"role": "tool", "tool_call_id": "c1"}], "messages[2].content is missing"),
        ([{**HI, "content": 5}], "messages[0].content: expected str | array | null, got int"),
        ([{**HI, "nickname": "Ada"}], "messages[0].nickname is not supported"),
        ([{**HI, "reasoning_content": 5}], "messages[0].reasoning_content: expected str | null, got int"),
    ],
)
def test_an_invalid_message_is_refused_with_its_path(messages: object, message: str) -> None:
    assert refusal(messages=messages) == message


@pytest.mark.parametrize("kind", ["image_url", "input_image", "input_audio", "file", "video_url"])
def test_a_content_part_other_than_text_is_refused_by_its_type(kind: str) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": kind, kind: {}}]
    message = f"messages[1].content[1].type: '{kind}' is not supported: the model reads text only"
    assert refusal(messages=[HI, {**HI, "content": parts}]) == message


@pytest.mark.parametrize("kind", ["", "tool_result"])
def test_an_unknown_content_part_is_refused_by_its_type(kind: str) -> None:
    message = f"messages[0].content[0].type: '{kind}' is not supported, must be 'text'"
    assert refusal(messages=[{**HI, "content": [{"type": kind}]}]) == message


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("Hi", "messages[0].content[0]: expected object, got str"),
        ({"text": "Hi"}, "messages[0].content[0].type is missing"),
        ({"type": "text"}, "messages[0].content[0].text is missing"),
        ({"type": "text", "text": None}, "messages[0].content[0].text is missing"),
        ({"type": "text", "text": "Hi", "cache": 1}, "messages[0].content[0].cache is not supported"),
    ],
)
def test_an_invalid_content_part_is_refused_with_its_path(part: object, message: str) -> None:
    assert refusal(messages=[{**HI, "content": [part]}]) == message


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([HI, calling(), {"role": "tool", "content": "4"}], "messages[2].tool_call_id is missing"),
        ([HI, calling(), result("")], "messages[2].tool_call_id: no earlier call has the id ''"),
        ([HI, calling(), result("c2")], "messages[2].tool_call_id: no earlier call has the id 'c2'"),
        ([HI, result(), calling()], "messages[1].tool_call_id: no earlier call has the id 'c1'"),
        ([HI, calling(), {**result(), "tool_call_id": 1}], "messages[2].tool_call_id: expected str | null"),
    ],
)
def test_a_result_without_its_call_is_refused(messages: object, message: str) -> None:
    assert refusal(messages=messages).startswith(message)


@pytest.mark.parametrize("role", ["system", "developer", "user", "tool"])
def test_only_the_assistant_calls_and_reasons(role: str) -> None:
    other = {**result(), "role": role} if role == "tool" else {"role": role, "content": "Hi"}
    for name, value in (("tool_calls", [call("c2")]), ("reasoning_content", "Hm.")):
        message = f"messages[1].{name} is only allowed in assistant messages"
        assert refusal(messages=[calling(), {**other, name: value}]) == message


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
@pytest.mark.parametrize("call_id", ["c1", ""])
def test_only_a_tool_answers_a_call(role: str, call_id: str) -> None:
    message = "messages[1].tool_call_id is only allowed in tool messages"
    assert refusal(messages=[calling(), {**result(call_id), "role": role}]) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": 1}, "messages[0].tool_calls[0].id: expected str, got int"),
        ({"type": "custom"}, "messages[0].tool_calls[0].type: 'custom' is not supported, must be 'function'"),
        ({"position": 0}, "messages[0].tool_calls[0].position is not supported"),
        ({"function": {"arguments": ""}}, "messages[0].tool_calls[0].function.name is missing"),
        ({"function": {"name": "f"}}, "messages[0].tool_calls[0].function.arguments is missing"),
        (
            {"function": {"name": "f", "arguments": []}},
            "messages[0].tool_calls[0].function.arguments: expected str, got array",
        ),
        (
            {"function": {"name": "f", "arguments": "", "x": 1}},
            "messages[0].tool_calls[0].function.x is not supported",
        ),
        *(
            (
                {"function": {"name": name, "arguments": ""}},
                f"messages[0].tool_calls[0].function.name: {name!r} is not a valid name",
            )
            for name in ("", "a b", "f\n", "f<|message|>", "日本")
        ),
    ],
)
def test_an_invalid_call_is_refused_with_its_path(changes: Object, message: str) -> None:
    assert refusal(messages=[calling({**call(), **changes})]) == message


@pytest.mark.parametrize("name", ["", "a b", "a.b", "f\n", "x" * 65, "日本", "<|call|>"])
def test_an_invalid_tool_name_is_refused(name: str) -> None:
    assert refusal(tools=[tool(), tool(name)]) == f"tools[1].function.name is {name!r}, {NAME_RULE}"


def test_duplicate_tool_names_are_refused() -> None:
    assert refusal(tools=[tool(), tool("a"), tool()]) == "tools[2].function.name: duplicate 'weather'"


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({"f": 1}, "tools: expected array | null, got object"),
        ([{"type": "function"}], "tools[0].function is missing"),
        ([{"function": {"name": "f"}}], "tools[0].type is missing"),
        (
            [{**tool(), "type": "web_search"}],
            "tools[0].type: 'web_search' is not" + FUNCTION,
        ),
        ([{"type": "function", "name": "f"}], "tools[0].name is not supported"),
        ([{**tool(), "strict": True}], "tools[0].strict is not supported"),
        ([{"type": "function", "function": {}}], "tools[0].function.name is missing"),
        ([tool(examples=[])], "tools[0].function.examples is not supported"),
        ([tool(description=["x"])], "tools[0].function.description: expected str | null, got array"),
        ([tool(parameters=True)], "tools[0].function.parameters: expected object | null, got bool"),
        ([tool(strict="yes")], "tools[0].function.strict: expected bool | null, got str"),
    ],
)
def test_an_invalid_tool_is_refused_with_its_path(tools: object, message: str) -> None:
    assert refusal(tools=tools) == message


@pytest.mark.parametrize("tools", [None, []])
def test_a_call_cannot_be_required_without_tools(tools: object) -> None:
    assert refusal(tools=tools, tool_choice="required") == "tool_choice is required, but there are no tools"


@pytest.mark.parametrize("tools", [None, [], [tool()]])
def test_a_call_cannot_be_required_of_a_function_that_is_not_offered(tools: object) -> None:
    choice = {"type": "function", "function": {"name": "time"}}
    message = "tool_choice.function.name: 'time' is not among the tools"
    assert refusal(tools=tools, tool_choice=choice) == message


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("any", "tool_choice: 'any' is not supported, must be 'none', 'auto' or 'required'"),
        (1, "tool_choice: expected str | object | null, got int"),
        ({"function": {"name": "f"}}, "tool_choice.type is missing"),
        ({"type": "function"}, "tool_choice.function is missing"),
        ({"type": "function", "function": {}}, "tool_choice.function.name is missing"),
        ({"type": "allowed_tools"}, "tool_choice.type: 'allowed_tools' is not supported, must be 'function'"),
        ({"type": "function", "function": {"name": "f"}, "x": 1}, "tool_choice.x is not supported"),
        ({"type": "function", "function": {"name": "f", "x": 1}}, "tool_choice.function.x is not supported"),
    ],
)
def test_an_invalid_tool_choice_is_refused_with_its_path(choice: object, message: str) -> None:
    assert refusal(tools=[tool("f")], tool_choice=choice) == message


@pytest.mark.parametrize(
    ("response_format", "message"),
    [
        ("json", "response_format: expected object | null, got str"),
        ({"json_schema": {"name": "x", "schema": PLACE}}, "response_format.type is missing"),
        (
            {"type": "xml"},
            "response_format.type: 'xml' is not" + FORMATS,
        ),
        ({"type": "json_schema"}, "response_format.json_schema is missing"),
        ({"type": "json_schema", "json_schema": None}, "response_format.json_schema is missing"),
        ({"type": "text", "schema": PLACE}, "response_format.schema is not supported"),
        (
            {"type": "json_schema", "json_schema": {"name": "x"}},
            "response_format.json_schema.schema is missing",
        ),
        (json_schema(schema=True), "response_format.json_schema.schema: expected object, got bool"),
        (json_schema(strict=1), "response_format.json_schema.strict: expected bool | null, got int"),
        (json_schema(rules=[]), "response_format.json_schema.rules is not supported"),
        *(
            (json_schema(name=name), f"response_format.json_schema.name is {name!r}, {NAME_RULE}")
            for name in ("", "a b", "x\ny", "## x", "x" * 65)
        ),
    ],
)
def test_an_invalid_response_format_is_refused_with_its_path(response_format: object, message: str) -> None:
    assert refusal(response_format=response_format) == message


def test_variables_of_the_template_reach_the_conversation() -> None:
    given = {"enable_thinking": False, "note": None, "add_generation_prompt": True, "reasoning_effort": "max"}
    found = conversation_of(chat_template_kwargs=given)
    assert found.template_variables == {"enable_thinking": False, "reasoning_effort": "max"}
    assert conversation_of(chat_template_kwargs={}) == conversation_of()


def test_a_line_overrides_variables_of_the_command_line_one_by_one() -> None:
    defaults = Defaults(
        template_variables={"enable_thinking": False, "reasoning_effort": "max", "style": "a"}
    )
    found = conversation_of(defaults, chat_template_kwargs={"enable_thinking": True, "style": None})
    assert found.template_variables == {"enable_thinking": True, "reasoning_effort": "max", "style": "a"}
    found = conversation_of(defaults, reasoning_effort="low")
    assert (found.effort, found.template_variables) == ("low", {"enable_thinking": False, "style": "a"})


def test_an_effort_among_the_variables_is_the_effort() -> None:
    found = conversation_of(chat_template_kwargs={"reasoning_effort": "low"})
    assert (found.effort, found.template_variables) == ("low", {})
    assert refusal(chat_template_kwargs={"reasoning_effort": "low"}, reasoning_effort="high") == (
        "reasoning_effort and chat_template_kwargs.reasoning_effort differ"
    )


@pytest.mark.parametrize("name", ["messages", "tools", "bos_token", "add_generation_prompt"])
def test_a_variable_made_from_the_request_cannot_be_set(name: str) -> None:
    assert refusal(chat_template_kwargs={name: "x"}).startswith(f"chat_template_kwargs.{name} cannot be set")


def test_variables_are_part_of_a_requests_key_only_if_there_are_some() -> None:
    def key(**body: object) -> bytes:
        line = Line(7, json.dumps({"messages": [HI], **body}).encode())
        return LineParser(Defaults()).parse(line).request_key.answer

    assert key(chat_template_kwargs={}) == key()
    assert len({key(), *(key(chat_template_kwargs={"thinking": value}) for value in (True, False))}) == 3


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_a_schema_without_type_json_schema_is_refused(kind: str) -> None:
    assert refusal(response_format={**json_schema(), "type": kind}).startswith("response_format.json_schema ")


def test_duplicate_call_ids_in_a_message_are_refused() -> None:
    messages = [HI, calling(call("c1", "weather"), call("c1", "time")), result("c1")]
    assert refusal(messages=messages).startswith("messages[1].tool_calls[1].id")


@pytest.mark.parametrize("effort", ["extreme", "none", "minimal", "Low"])
def test_an_unknown_effort_is_refused(effort: str) -> None:
    assert refusal(reasoning_effort=effort) == f"reasoning_effort: '{effort}' is not{EFFORTS}"


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (-1, "max_reasoning_tokens is -1, must be 0 or more"),
        (1.5, "max_reasoning_tokens: expected int | null, got float"),
        ("5", "max_reasoning_tokens: expected int | null, got str"),
        (True, "max_reasoning_tokens: expected int | null, got bool"),
    ],
)
def test_an_invalid_reasoning_budget_is_refused(budget: object, message: str) -> None:
    assert refusal(max_reasoning_tokens=budget) == message


@pytest.mark.parametrize(
    "date", ["today", "2025-02-30", "2025-1-1", "2025-01-01T00:00:00", "0000-01-01", " 2025-01-01", 2025]
)
def test_an_invalid_date_is_refused(date: object) -> None:
    assert refusal(date=date).startswith("date: ")


@pytest.mark.parametrize("field", ["prompt", "tools", "response_format", "id", "x"])
@pytest.mark.parametrize("half", ["\\ud800", "\\udc00", "a\\udfffb", "\\ud83d\\ud83d"])
def test_an_unpaired_surrogate_is_not_json(field: str, half: str) -> None:
    assert refusal_of(f'{{"{field}": [{{"a": "{half}"}}]}}'.encode()).startswith("not valid JSON: ")
    assert refusal_of(f'{{"{field}": {{"{half}": 1}}}}'.encode()).startswith("not valid JSON: ")


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "HERE"},
        {"messages": [{"role": "user", "content": "HERE"}]},
        {"tools": [tool(parameters="HERE")]},
        {"response_format": json_schema(schema="HERE")},
    ],
    ids=["messages", "content", "parameters", "schema"],
)
@pytest.mark.parametrize(("opening", "inner", "closing"), [(b"[", b"", b"]"), (b'{"a":', b"1", b"}")])
def test_endless_nesting_is_not_json(body: Object, opening: bytes, inner: bytes, closing: bytes) -> None:
    before, _, after = json.dumps({"messages": [HI], **body}).encode().partition(b'"HERE"')
    nested = opening * 100_000 + inner + closing * 100_000
    assert refusal_of(before + nested + after) == "not valid JSON: nested too deeply"


def test_the_path_in_an_openai_line_starts_at_the_body() -> None:
    def whole(**body: object) -> bytes:
        return json.dumps({"custom_id": "a", "body": {"messages": [HI], **body}}).encode()

    part = {**HI, "content": [{"type": "image_url"}]}
    assert refusal_of(whole(messages=[part])).startswith("body.messages[0].content[0].type: 'image_url'")
    assert refusal_of(whole(tools=[{**tool(), "type": "x"}])) == "body.tools[0].type: 'x' is not" + FUNCTION
    assert refusal_of(whole(date="today")).startswith("body.date: ")
    assert refusal_of(whole(messages=[HI, result()])).endswith(
        "messages[1].tool_call_id: no earlier call has the id 'c1'"
    )


NAMES = st.sampled_from(
    ["role", "content", "type", "text", "tool_calls", "tool_call_id", "reasoning_content", "id", "function",
     "name", "arguments", "parameters", "description", "strict", "schema", "json_schema", "x", "refusal",
     "reasoning", "thinking", "tool_name", "function_call", "images", "json", "choice", "thinking"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["", "user", "assistant", "tool", "text", "function", "json_schema", "json_object", "required", "auto",
     "none", "low", "2025-01-01", "c1", "weather", "refusal", "input_text", "image_url", "json"]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers(-2, 9) | WORDS
VALUES = st.recursive(
    SCALARS | st.sampled_from([HI, call(), calling(), result(), tool(), json_schema()]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
FIELDS = [
    "tools", "tool_choice", "response_format", "reasoning_effort", "max_reasoning_tokens", "date",
    "functions", "function_call", "guided_json", "structured_outputs", "format", "chat_template_kwargs",
]  # fmt: skip
MESSAGES = st.lists(st.sampled_from([HI, calling(), result()]) | st.dictionaries(NAMES, VALUES), max_size=4)


def understood(messages: list[Object], fields: Object) -> Conversation | str:
    try:
        return conversation_of(messages=messages, **fields)
    except RequestError as error:
        return error.message


@given(MESSAGES, st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3))
def test_any_fields_make_a_conversation_or_a_refusal_in_one_line(
    messages: list[Object], fields: Object
) -> None:
    found = understood(messages, fields)
    if isinstance(found, str):
        assert len(found.splitlines()) == 1
        assert found.startswith(("messages", *FIELDS))
    else:
        assert len(found.messages) == len(messages)
