"""The wire format: lines in, records out."""

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.records import ModelIdentity, ResultRecords
from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.chat_completions import Options, Task, custom_id_of
from ossctl.app.wire.lines import Line
from ossctl.app.wire.messages import ConversationOptions
from ossctl.app.wire.request_key import RequestKey
from ossctl.dialect import (
    Conversation,
    JsonFormat,
    Message,
    Tool,
    ToolChoice,
)
from ossctl.engine.request import Sampling
from ossctl.errors import RequestError
from ossctl.guide import TextFormat

HI = {"role": "user", "content": "Hi"}
BATCH_LINE = {"custom_id": "a", "body": {"messages": [HI]}}
NUMBER = 7  # of the line
NOTHING_ELSE = Defaults()

PLACE = {"type": "object", "properties": {"place": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": PLACE}}
TIME = {"type": "function", "function": {"name": "time", "strict": True}}


def line_of(record: object) -> Line:
    return Line(NUMBER, record if isinstance(record, bytes) else json.dumps(record).encode())


def task_of(record: object, defaults: Defaults = NOTHING_ELSE) -> Task:
    return LineParser(defaults).parse(line_of(record))


def batch_line(**body: object) -> dict[str, object]:
    return {"custom_id": "a", "body": {"messages": [HI], **body}}


def refusal(record: object) -> str:
    with pytest.raises(RequestError) as refused:
        task_of(record)
    return refused.value.message


@pytest.mark.parametrize(
    ("record", "custom_id"),
    [
        ({**BATCH_LINE, "method": "POST", "url": "/v1/chat/completions"}, "a"),
        ({"custom_id": 12, "body": {"messages": [HI], "model": "gpt-oss-20b"}}, "12"),
        ({"messages": [HI], "id": "b"}, "b"),
        ({"messages": [HI], "prompt": None}, "line-7"),
        ({"prompt": "Hi"}, "line-7"),
        ({"prompt": "Hi", "id": 0}, "0"),
        ({"prompt": "Hi", "custom_id": "日本"}, "日本"),
        ({"prompt": "Hi", "custom_id": None, "id": "c"}, "c"),
    ],
)
def test_the_three_forms_of_a_line_ask_the_same(record: dict[str, object], custom_id: str) -> None:
    # The seed is the line's number: the same file gives the same answers, and its lines differ.
    conversation, sampling = Conversation((Message("user", "Hi"),)), Sampling(seed=NUMBER)
    assert replace(task_of(record), request_key=RequestKey()) == Task(
        conversation, None, (), sampling, NUMBER, custom_id
    )


def test_every_option_reaches_the_request() -> None:
    options = {
        "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "seed": 3,
        "stop": ["END"], "logprobs": True, "top_logprobs": 2, "logit_bias": {"5": -100, "6": 1.5},
    }  # fmt: skip
    sampling = Sampling(0.5, 40, 0.9, 0.05, 3, {5: -100, 6: 1.5}, 2)
    for record in (batch_line(**options), {"prompt": "Hi", **options}, {"messages": [HI], **options}):
        task = task_of(record)
        assert (task.max_tokens, task.stops, task.sampling) == (9, ("END",), sampling)


FORMATS: dict[str, tuple[Any, TextFormat]] = {
    "choice": (["yes", "no"], TextFormat("choice", choices=("yes", "no"))),
    "regex": ("[0-9]+", TextFormat("regex", "[0-9]+")),
    "grammar": ('start: "a"', TextFormat("grammar", 'start: "a"')),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_choice_regex_or_grammar_replaces_any_default_format(name: str) -> None:
    value, expected = FORMATS[name]
    for defaults in (
        Defaults(),
        Defaults(json_format=JsonFormat({})),
        Defaults(text_format=TextFormat("regex", "x")),
    ):
        for more in ({}, {"response_format": {"type": "text"}}):
            conversation = task_of({"prompt": "Hi", name: value, **more}, defaults).conversation
            assert (conversation.text_format, conversation.json_format) == (expected, None)
    assert task_of({"prompt": "Hi", name: value}).request_key != task_of({"prompt": "Hi"}).request_key


def test_a_request_has_the_default_format_unless_it_has_its_own() -> None:
    defaults = Defaults(text_format=TextFormat("regex", "x"))
    assert task_of({"prompt": "Hi"}, defaults).conversation.text_format == TextFormat("regex", "x")
    for kind in ("text", "json_object"):
        line = {"prompt": "Hi", "response_format": {"type": kind}}
        assert task_of(line, defaults).conversation == task_of(line).conversation


PENALTIES: dict[str, Any] = {
    "frequency_penalty": 0.5, "presence_penalty": -0.5, "repetition_penalty": 1.1, "min_tokens": 3,
    "ignore_eos": True, "top_n_sigma": 1.5, "dry_multiplier": 0.8, "dry_base": 2.0, "dry_allowed_length": 3,
    "dry_penalty_last_n": 64, "dry_sequence_breakers": ["."], "xtc_probability": 0.5, "xtc_threshold": 0.2,
}  # fmt: skip


def test_penalties_and_samplers_reach_the_request_and_are_part_of_its_hash() -> None:
    expected = Sampling(seed=NUMBER, **{**PENALTIES, "dry_sequence_breakers": (".",)})
    assert task_of({"prompt": "Hi", **PENALTIES}).sampling == expected
    keys = {
        task_of({"prompt": "Hi", **({name: value} if name else {})}).request_key.answer
        for name, value in [("", None), *PENALTIES.items()]
    }
    assert len(keys) == 1 + len(PENALTIES)


def test_requests_keep_the_hash_they_had_before_there_were_penalties() -> None:
    """So that old outputs can be resumed."""
    body = {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}],
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "seed": 7, "stop": ["x"],
        "logprobs": True, "top_logprobs": 3, "logit_bias": {"5": 2}, "max_tokens": 9, "n": 2,
        "reasoning_effort": "low", "response_format": {"type": "json_object"},
    }  # fmt: skip
    neutral = {"frequency_penalty": 0, "repetition_penalty": 1, "top_n_sigma": -1, "ignore_eos": False}
    defaults = Defaults(
        date=dt.date(2025, 1, 2),
        sampling=Sampling(seed=3),
        json_format=JsonFormat({"type": "object"}, "answer"),
    )
    for added in ({}, neutral):
        line = {"custom_id": "a", "body": {**body, **added}}
        short = task_of({"prompt": "Hello.", **added}).request_key
        assert short.version_1(None).hex() == "ecb7c40549e4b98ddd8cc9f136c6cbf3"
        assert task_of(line, defaults).request_key.version_1(9).hex() == "a842e943c920067ccd7a110a7536161e"


def test_roles_parts_and_reasoning_of_messages_are_kept() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "", "reasoning_content": "plan"},
        {"role": "user", "content": [], "reasoning_content": None},
    ]
    assert task_of({"messages": messages}).conversation.messages == (
        Message("developer", "Be brief."),
        Message("user", "one\ntwo"),
        Message("assistant", "", "plan"),
        Message("user", ""),
    )


def test_tools_format_effort_date_and_budget_reach_the_conversation() -> None:
    json_schema = {"name": "place", "description": "Where.", "schema": PLACE, "strict": True}
    options = {
        "tools": [WEATHER, TIME], "tool_choice": "none", "reasoning_effort": "low", "date": "2026-01-31",
        "max_reasoning_tokens": 0, "response_format": {"type": "json_schema", "json_schema": json_schema},
    }  # fmt: skip
    expected = Conversation(
        (Message("user", "Hi"),),
        tools=(Tool("weather", "Now.", PLACE), Tool("time", strict=True)),
        tool_choice=ToolChoice("none"),
        json_format=JsonFormat(PLACE, "place", "Where."),
        effort="low",
        date=dt.date(2026, 1, 31),
        max_reasoning_tokens=0,
    )
    for record in (batch_line(**options), {"prompt": "Hi", **options}, {"messages": [HI], **options}):
        assert task_of(record).conversation == expected


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_text_parts_are_joined_by_a_newline(role: str) -> None:
    parts = [{"type": "text", "text": text} for text in ("What is 47", "plus 38?")]
    call = {"id": "c", "function": {"name": "f", "arguments": ""}}
    message = {"role": role, "content": parts, **({"tool_call_id": "c"} if role == "tool" else {})}
    before = [HI, {"role": "assistant", "tool_calls": [call]}]
    conversation = task_of({"messages": [*before, message]}).conversation
    assert conversation.messages[-1].content == "What is 47\nplus 38?"


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"max_tokens": 50.0, "n": 2.0}, {"max_tokens": 50, "n": 2}),
        ({"max_reasoning_tokens": 5.0, "seed": 7.0}, {"max_reasoning_tokens": 5, "seed": 7}),
        ({"seed": -1}, {}),
        ({"seed": -1.0, "top_k": -1.0}, {"top_k": 0}),
        ({"top_k": -1}, {"top_k": 0}),
        ({"top_n_sigma": -1}, {"top_n_sigma": 0}),
        ({"min_tokens": 3.0}, {"min_tokens": 3}),
    ],
)
def test_numbers_have_their_usual_meaning(given: dict[str, Any], same: dict[str, Any]) -> None:
    assert task_of(batch_line(**given)) == task_of(batch_line(**same))
    assert task_of({"prompt": "Hi", **given}) == task_of({"prompt": "Hi", **same})


def test_the_supported_values_of_fixed_fields_are_accepted() -> None:
    neutral = {
        "n": 1, "stream": False, "frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": False,
        "stop": [], "logit_bias": {}, "response_format": {"type": "text"}, "model": "anything",
        "tools": [], "tool_choice": "auto", "parallel_tool_calls": True,
    }  # fmt: skip
    assert task_of(batch_line(**neutral)) == task_of(BATCH_LINE)


def test_null_is_the_same_as_leaving_an_option_out() -> None:
    nothing = dict.fromkeys(Options.__struct_fields__)
    assert len(nothing) > 10
    assert task_of(batch_line(**nothing)) == task_of(BATCH_LINE)


@pytest.mark.parametrize("name", ["speed", "functional", "reasoning.effort", "x"])
@pytest.mark.parametrize("value", [0, [], ""])
def test_a_field_that_is_not_known_is_named_and_never_ignored(name: str, value: object) -> None:
    assert refusal(batch_line(**{name: value})).startswith(f"body.{name} is not supported")
    assert refusal({"prompt": "Hi", name: value}).startswith(f"{name} is not supported")
    assert refusal({**BATCH_LINE, name: value}).startswith(f"{name} is not supported")
    assert refusal({"messages": [{**HI, name: value}]}) == f"messages[0].{name} is not supported"


@pytest.mark.parametrize("name", ConversationOptions.__struct_fields__)
def test_a_body_field_is_refused_in_a_message_and_beside_the_body(name: str) -> None:
    assert refusal({**BATCH_LINE, name: 1}).startswith(f"{name} is not supported")
    assert refusal({"messages": [{**HI, name: 1}]}) == f"messages[0].{name} is not supported"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"n": 0}, "n is 0, must be from 1 to 128"),
        ({"stream": True}, "stream is true, only false"),
        ({"frequency_penalty": 2.5}, "frequency_penalty is 2.5, must be from -2 to 2"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0.0, must be more than 0"),
        ({"dry_sequence_breakers": [""]}, "dry_sequence_breakers contains an empty string"),
        ({"choice": []}, "choice is empty"),
        ({"choice": ["a", ""]}, "choice contains an empty string"),
        ({"choice": "yes"}, "body.choice: expected array | null, got str"),
        ({"choice": ["a"], "regex": "a"}, "choice and regex cannot be combined: an answer has one format"),
        (
            {"grammar": "start: x", "response_format": {"type": "json_object"}},
            "response_format and grammar cannot be combined",
        ),
        ({"min_tokens": "many"}, "body.min_tokens: expected int | null, got str"),
        ({"response_format": {"type": "xml"}}, "body.response_format.type: "),
        ({"response_format": {"type": "text", "strict": True}}, "body.response_format.strict is not"),
        ({"messages": []}, "messages is empty"),
        ({"messages": [HI, {"role": "pope", "content": ""}]}, "body.messages[1].role: "),
        ({"messages": [HI, {"role": "user"}]}, "messages[1].content is missing"),
        ({"messages": [HI, {"role": "user", "content": None}]}, "messages[1].content is missing"),
        ({"messages": [{**HI, "content": [{"type": "image_url"}]}]}, "body.messages[0].content[0].type: "),
        ({"messages": [{**HI, "content": ["Hi"]}]}, "body.messages[0].content[0]: expected object"),
        ({"messages": HI}, "body.messages: expected array, got object"),
        ({"temperature": "hot"}, "body.temperature: expected float | null, got str"),
        ({"seed": 1.5}, "body.seed: expected int | null, got float"),
        ({"max_tokens": True}, "body.max_tokens: expected int | null, got bool"),
        ({"stop": [1]}, "body.stop[0]: expected str, got int"),
        ({"logit_bias": {"5": "x"}}, "body.logit_bias[...]: expected float, got str"),
        ({"logit_bias": {"five": 1}}, "logit_bias must map token ids to numbers"),
        ({"logit_bias": {"9" * 5000: 1}}, "logit_bias must map token ids to numbers"),
        ({"temperature": -1}, "temperature is -1.0, must be from 0 to 100"),
        ({"top_p": 2}, "top_p is 2.0, must be from 0 to 1"),
        ({"seed": 2**64}, "seed is 18446744073709551616, must be"),
        ({"top_logprobs": 2}, "top_logprobs needs logprobs: true"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs is 21, must be from 0 to 20"),
        ({"max_tokens": 0}, "max_tokens is 0, must be at least 1"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens and max_completion_tokens differ"),
        ({"stop": ["x", ""]}, "stop contains an empty string"),
        ({"stop": ["x"] * 17}, "stop has 17 strings, at most 16"),
        ({"prompt": "Hi"}, "body.prompt is not supported"),
    ],
)
def test_a_wrong_value_is_refused_with_the_path_to_it(body: dict[str, object], message: str) -> None:
    assert refusal(batch_line(**body)).startswith(message)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "a line needs exactly one of body, prompt and messages"),
        ({"prompt": "Hi", "messages": [HI]}, "a line needs exactly one of body, prompt and messages"),
        ({"prompt": ["Hi"]}, "prompt: expected str | null, got array"),
        ({"prompt": "Hi", "id": "a", "custom_id": "a"}, "a line can have an id or a custom_id, not both"),
        ({"prompt": "Hi", "id": 1.5}, "id: expected "),
        ({"body": {"messages": [HI]}}, "custom_id is missing"),
        ({"custom_id": "a", "body": None}, "body is missing"),
        ({"custom_id": "a", "body": {}}, "body.messages is missing"),
        ({**BATCH_LINE, "url": "/v1/embeddings"}, "url: "),
        ({**BATCH_LINE, "method": "GET"}, "method: "),
        ([{"prompt": "Hi"}], "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_a_line_of_another_shape_is_refused(record: object, message: str) -> None:
    assert refusal(record).startswith(message)


@pytest.mark.parametrize(
    "data",
    [
        b"", b'{"prompt": "Hi"', b'{"prompt": "Hi"} {}', b"{'prompt': 'Hi'}", b'{"prompt": "Hi", "n": NaN}',
        b'{"prompt": "\xff"}', b'{"prompt": "\x00"}', b'{"prompt": "\\ud800"}', b'{"id": 1' + b"0" * 5000,
        b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"body":' * 100_000,
    ],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_invalid_json_is_refused(data: bytes) -> None:
    assert refusal(data).startswith("not valid JSON: ")
    assert custom_id_of(line_of(data)) == "line-7"


def test_both_names_of_the_limit_are_known_and_may_agree() -> None:
    assert task_of(batch_line(max_tokens=5)).max_tokens == 5
    assert task_of(batch_line(max_completion_tokens=5)).max_tokens == 5
    assert task_of(batch_line(max_tokens=5, max_completion_tokens=5)).max_tokens == 5


def test_stop_is_one_string_or_some() -> None:
    assert task_of(batch_line(stop="xy")).stops == ("xy",)
    assert task_of(batch_line(stop=["x", "yz"])).stops == ("x", "yz")
    assert task_of(batch_line(stop="")).stops == ()


def test_logprobs_without_top_logprobs_gives_the_sampled_tokens_only() -> None:
    assert task_of(batch_line(logprobs=True)).sampling.logprobs == 0


def test_the_last_of_duplicate_keys_counts_as_in_most_json_parsers() -> None:
    assert task_of(b'{"prompt": "a", "prompt": "b"}').conversation.messages == (Message("user", "b"),)


def test_an_invalid_line_keeps_its_own_id_if_it_has_one() -> None:
    assert custom_id_of(line_of({"custom_id": "a", "nonsense": 1})) == "a"
    assert custom_id_of(line_of({"custom_id": "a", "id": "b", "prompt": "Hi"})) == "a"
    assert custom_id_of(line_of({"id": 5})) == "5"
    for data in (b'{"custom_id": ["a"]}', b'{"id": null}', b"{}", b"[]"):
        assert custom_id_of(line_of(data)) == "line-7"


def test_an_unreadable_line_is_refused_with_the_reason() -> None:
    line = Line(NUMBER, b"", RequestError("too long"))
    with pytest.raises(RequestError, match=r"^too long$"):
        LineParser(NOTHING_ELSE).parse(line)
    assert custom_id_of(line) == "line-7"


FIELDS = st.sampled_from(
    [*Options.__struct_fields__, "body", "messages", "prompt", "role", "content", "text", "id", "x", "5"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner), max_leaves=5)
RECORDS = st.dictionaries(FIELDS, VALUES, max_size=5).map(lambda record: {"prompt": "Hi", **record})


@given(st.binary() | RECORDS.map(lambda record: json.dumps(record).encode()))
@example(b'{"prompt":"Hi","custom_id":"\\ud83d\\ude00 \\u0000\\n"}')
def test_any_bytes_give_a_task_or_a_refusal_that_can_be_recorded(data: bytes) -> None:
    line = Line(NUMBER, data)
    records = ResultRecords(ModelIdentity("m", b"m", lambda _: b""))
    try:
        custom_id, error = LineParser(NOTHING_ELSE).parse(line).custom_id, RequestError("no room")
    except RequestError as refused:
        custom_id, error = custom_id_of(line), refused
    record = records.failure(line, custom_id, data, error)
    assert b"\n" not in record
    assert json.loads(record)["custom_id"] == custom_id
